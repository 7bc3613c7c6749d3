"""Stage `profile`: Nsight Compute over the heaviest kernels of a training step, those whose operations took the longest
in the newest result of stage `kernels`.

In a rehearsal the same commands run without it, on the emulator.
"""

import csv

import engine
import results
import toolkit

# What is worth reading first, as benches/README.md says. Names of ncu's sections.
SECTIONS = (
    "SpeedOfLight", "ComputeWorkloadAnalysis", "MemoryWorkloadAnalysis", "MemoryWorkloadAnalysis_Tables",
    "WarpStateStats", "Occupancy", "LaunchStats",
)
HEAVIEST = 3


def run(work):
    suite = work.suite
    on_card = suite.engine.device == "cuda"
    ncu = toolkit.find("ncu") if on_card else None
    if on_card and not ncu:
        work.skip("ncu", toolkit.missing("ncu"))
        return
    cases = heaviest(suite)
    if not cases:
        work.skip("ncu", "no result says which kernels are the heaviest; run stage kernels first")
    for number, case in enumerate(cases):
        if not one(work, ncu, case, work.share(len(cases) - number)):
            break


def heaviest(suite):
    """The cases of operations that took the longest in a step, those all of a kind together, longest first."""
    newest = results.newest(suite.output, suite.engine.device).get("kernels")
    bench = newest[1]["results"].get("ops") if newest else None
    if suite.engine.device == "emu":
        # Nothing is timed there: the first of each operation.
        return [row["name"] for row in (bench or {}).get("rows", [])][:HEAVIEST]
    cost = {row["name"]: row["median_us"] * row.get("count", 1) for row in engine.rows(bench)}
    return sorted(cost, key=cost.get, reverse=True)[:HEAVIEST]


def one(work, ncu, case, seconds):
    """One case, run once; what ncu counted of each of its kernels. Whether the next is worth trying."""
    command, log = work.suite.engine.once(case), work.temporary("ncu.csv")
    engine.forget(log)
    if ncu:
        sections = [option for section in SECTIONS for option in ("--section", section)]
        # Clocks and caches as they are in training.
        options = ["--clock-control", "none", "--cache-control", "none", "--csv", "--page", "details"]
        options += ["--print-details", "all"]
        command = [ncu, *options, *sections, "--log-file", log, *command]
    title, failures = f"ncu {case}", len(work.failed)
    done = work.run(title, command, seconds, may_be_cut=True)
    said = toolkit.read(log)
    if "ERR_NVGPUCTRPERM" in said:
        # No failure of ours: this machine keeps its counters from its users.
        del work.failed[failures:]
        work.skip("ncu", "no permission to read the counters: it takes CAP_SYS_ADMIN, or the driver's "
                  "NVreg_RestrictProfilingToAdminUsers=0")
        return False
    kernels = counted(said) if ncu else []
    if done and ncu and not kernels:
        work.fail(title, "it counted nothing", command, said)
    elif done:
        work.results.setdefault("cases", []).append({"case": case, "kernels": kernels})
    elif len(work.failed) > failures:
        work.failed[-1]["output"] = said[-4000:] + work.failed[-1].get("output", "")
    work.save()
    return True


def counted(text):
    """`kernel`, and `metrics`: section -> metric -> [value, unit], of every launch in ncu's table."""
    kernels = {}
    # Lines of ncu's own begin with ==.
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("==")):
        if row.get("Metric Name") and row.get("Metric Value"):
            launch = kernels.setdefault(row["ID"], {"kernel": row["Kernel Name"].partition("(")[0], "metrics": {}})
            section = launch["metrics"].setdefault(row["Section Name"], {})
            section[row["Metric Name"]] = [number(row["Metric Value"]), row["Metric Unit"]]
    return list(kernels.values())


def number(text):
    """1,234.5 as a number; what is none stays text."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return text
