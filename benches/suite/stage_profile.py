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
    "SpeedOfLight", "ComputeWorkloadAnalysis", "MemoryWorkloadAnalysis", "WarpStateStats", "Occupancy", "LaunchStats",
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
    for case in cases:
        one(work, ncu, case)


def heaviest(suite):
    """The cases of operations that took the longest in a step, those all of a kind together, longest first."""
    newest = results.newest(suite.output, suite.engine.device).get("kernels")
    bench = newest[1]["results"].get("ops") if newest else None
    if suite.engine.device == "emu":
        # Nothing is timed there: the first of each operation.
        return [row["name"] for row in (bench or {}).get("rows", [])][:HEAVIEST]
    cost = {row["name"]: row["median_us"] * row.get("count", 1) for row in engine.rows(bench)}
    return sorted(cost, key=cost.get, reverse=True)[:HEAVIEST]


def one(work, ncu, case):
    """One case, run once; what ncu counted of each of its kernels."""
    command, log = work.suite.engine.once(case), work.temporary("ncu.csv")
    engine.forget(log)
    if ncu:
        sections = [option for section in SECTIONS for option in ("--section", section)]
        # Clocks and caches as they are in training.
        options = ["--clock-control", "none", "--cache-control", "none", "--csv", "--page", "details"]
        command = [ncu, *options, *sections, "--log-file", log, *command]
    done = work.run(f"ncu {case}", command, max(60.0, work.share(HEAVIEST)), may_be_cut=True)
    if not done:
        return
    kernels = counted(log) if ncu else []
    if ncu and not kernels:
        return work.fail(f"ncu {case}", "it counted nothing", command, toolkit.read(log))
    work.results.setdefault("cases", []).append({"case": case, "kernels": kernels})
    work.save()


def counted(path):
    """`kernel`, and `metrics`: section -> metric -> [value, unit], of every launch in ncu's table."""
    kernels = {}
    # Lines of ncu's own begin with ==.
    for row in csv.DictReader(line for line in toolkit.read(path).splitlines() if not line.startswith("==")):
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
