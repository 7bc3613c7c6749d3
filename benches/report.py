#!/usr/bin/env python3
"""Writes the figures of README.md from the newest result files of the GPU suite; none is ever typed.

    benches/report.py            rewrites what stands between <!-- results:NAME --> and <!-- end -->
    benches/report.py --check    changes nothing; exit status 1 where the README is not what the files say

Needs nothing beyond Python. Where a stage has no result of a card, its block says so in one line.
"""

import argparse
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "suite"))

import engine  # noqa: E402
import report_training  # noqa: E402
import results  # noqa: E402
from markdown import median, nothing, number, source, table  # noqa: E402

BLOCK = re.compile(r"(<!-- results:([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
FORMS = {
    "eager": "PyTorch eager", "graphs": "CUDA graphs", "compiled": "compiled",
    "compiled-graphs": "compiled, CUDA graphs",
}


# ------------------------------------------------------------------------------------------------------ blocks


def stages(found):
    """What each stage found, on which card."""
    if not found:
        return "No stage of `benches/gpu-suite.sh` has run on a card yet.\n"
    rows = []
    for stage in results.STAGES:
        if stage not in found:
            rows.append([f"`{stage}`", "not yet", "", "", ""])
            continue
        path, result = found[stage]
        name = os.path.basename(path)
        verdict = f"{len(result['failed'])} failed" if result["failed"] else "nothing failed"
        verdict += f", {len(result['not_run'])} not run" if result["not_run"] else ""
        what = "; ".join(part for part in (DETAILS.get(stage, lambda _: "")(result["results"]), verdict) if part)
        commit = f"{result.get('commit') or 'unknown'}"
        rows.append([f"[`{stage}`](benches/results/{name})", result["card"], result["date"][:10], f"`{commit}`", what])
    return table(["stage", "card", "date", "commit", "found"], rows)


def test_details(found):
    check = found.get("check")
    parts = [f"{check['passed']:,} of {check['cases']:,} rows"] if check else []
    same = [entry for name, entry in found.items() if name.startswith("same seed") or name == "resumed run"]
    if same:
        alike = sum(entry["differing"] == 0 for entry in same)
        parts.append(f"{alike} of {len(same)} pairs of runs the same to the bit")
    return ", ".join(parts)


def sanitize_details(found):
    runs = found.get("runs", [])
    return f"{sum(run['passed'] for run in runs)} of {len(runs)} runs clean" if runs else ""


def tune_details(found):
    pairs = [pair for entry in found.get("tune", []) for pair in engine.winners(entry.get("ours"))]
    others = sum(not winner["usual"] for winner, _ in pairs)
    return f"{others} of {len(pairs)} convolutions faster by another kernel than unmeasured" if pairs else ""


def profile_details(found):
    return f"{sum(len(case['kernels']) for case in found.get('cases', []))} kernels"


DETAILS = {
    "test": test_details, "sanitize": sanitize_details, "tune": tune_details, "profile": profile_details,
    "train": report_training.details,
}


def step(found):
    """Images a second by batch: ours, PyTorch's forms, JAX; medians of the rounds' medians."""
    entries = found["step"][1]["results"].get("step", []) if "step" in found else []
    if not entries:
        return nothing("step")
    rows = []
    for batch in sorted({entry["batch"] for entry in entries}):
        rounds = [entry for entry in entries if entry["batch"] == batch]
        ours = median([images_per_second(engine.step_time(entry.get("ours")), batch) for entry in rounds])
        peers = {form: median([peer(entry.get("torch"), form) for entry in rounds]) for form in FORMS}
        peers["jit"] = median([peer(entry.get("jax"), "jit") for entry in rounds])
        best = max((value for value in peers.values() if value), default=None)
        ratio = ours / best if ours and best else None
        bound = median([bound_rate(entry.get("ours"), batch) for entry in rounds])
        rates = [number(rate, ",.0f") for rate in (ours, *peers.values(), bound)]
        rows.append([str(batch), *rates, number(ratio, ".2f")])
    header = ["batch", "rir, images/s", *FORMS.values(), "JAX", "the bound", "rir / the fastest peer"]
    note = "Ours also draws and augments its batch; the peers' batch lies there. The bound is every operation at the rates "
    note += "of copies and matrix products that this card reached in the same run. "
    return table(header, rows) + "\n" + note + source(found, "step")


def images_per_second(row, batch):
    """Of a step's row."""
    return 1e6 * batch / row["median_us"] if row else None


def bound_rate(bench, batch):
    """Images a second where every operation takes its least."""
    row = engine.step_time(bench)
    return 1e6 * batch / row["bound_us"] if row and row.get("bound_us") else None


def breakdown(found):
    """Where the step's time goes, by kinds of operations, beside their bounds."""
    entries = found["step"][1]["results"].get("step", []) if "step" in found else []
    bench = next((entry["ours"] for entry in entries if engine.step_time(entry.get("ours"))), None)
    kinds = {}
    for row in engine.rows(bench):
        if "operation" in row:
            kind = kinds.setdefault(row["operation"], [0, 0.0, 0.0])
            count = row.get("count", 1)
            for place, value in enumerate((1, row["median_us"], row.get("bound_us") or 0.0)):
                kind[place] += count * value
    if not kinds:
        return nothing("step")
    step, together = engine.step_time(bench)["median_us"], sum(us for _, us, _ in kinds.values())
    rows = [
        [f"`{name}`", str(nodes), f"{us:,.0f}", f"{100 * us / together:.1f}", f"{bound:,.0f}", f"{100 * bound / us:.0f}"]
        for name, (nodes, us, bound) in sorted(kinds.items(), key=lambda kind: -kind[1][1])
    ]
    header = ["operation", "nodes", "µs", "% of all", "bound, µs", "% of the bound"]
    note = f"Each alone, caches warm; all together {together:,.0f} µs, the step as it runs {step:,.0f}. "
    return table(header, rows) + "\n" + note + source(found, "step")


def peer(result, form):
    """Images a second of a peer's form, or None."""
    rows = (result or {}).get("rows", [])
    return next((row["images_per_second"] for row in rows if row["form"] == form), None)


def layers(found, predicted):
    """Every different convolution: predicted, ours, cuDNN's, and the share of the card's limit that ours reaches."""
    entries = found["kernels"][1]["results"].get("layers", []) if "kernels" in found else []
    rounds = [entry for entry in entries if entry["batch"] == entries[0]["batch"]]
    ours = [engine.convolution_times(entry.get("ours")) for entry in rounds]
    theirs = [peer_convolutions(entry.get("torch")) for entry in rounds]
    rows = []
    for key in layer_keys(ours, theirs) if rounds else predicted:
        us, cudnn = (median([times[key].get("median_us") for times in side if key in times]) for side in (ours, theirs))
        share = median([times[key].get("share") for times in ours if key in times])
        rate = median([times[key].get("tflop_s") for times in ours if key in times])
        ratio = cudnn / us if us and cudnn else None
        cells = [number(predicted.get(key), ".1f"), number(us, ".1f"), number(rate, ".0f"), number(cudnn, ".1f")]
        percent = number(None if share is None else 100 * share, ".0f")
        rows.append([f"`{key[0]}`", key[1].replace("_", " "), *cells, number(ratio, ".2f"), percent])
    if not rows:
        return nothing("kernels")
    header = ["convolution", "pass", "predicted, µs", "rir, µs", "TFLOP/s", "cuDNN, µs", "cuDNN / rir", "% of the limit"]
    note = f"Predicted for an H100 at batch 500, by arithmetic alone: [`{PREDICTED}`](benches/results/{PREDICTED}). "
    if not rounds:
        return table(header, rows) + "\n" + note + nothing("kernels")
    note += f"Measured at batch {rounds[0]['batch']}, caches warm; ours with what it fuses, cuDNN's bare. "
    return table(header, rows) + "\n" + note + source(found, "kernels")


# What `rir bench predict rir-18-wide --batch 500 --json` says.
PREDICTED = "predicted-h100.json"


def predictions(folder):
    """(layer, pass) -> microseconds, of the form that should be the fastest; nothing where there is no such file."""
    path = os.path.join(folder, PREDICTED)
    bench = engine.read_json(path) if os.path.exists(path) else {}
    if bench is None:
        raise ValueError(f"{path} is no JSON; delete or restore it")
    return {(row["layer"], row["direction"]): row["us"] for row in bench.get("rows", [])}


def passes(found):
    """The operations that are no convolution: what they take, and how fast they move what they must."""
    bench = found["kernels"][1]["results"].get("ops") if "kernels" in found else None
    rows = []
    for row in engine.rows(bench):
        if row.get("direction") is None and row.get("gb_s"):
            percent = number(None if row.get("share") is None else 100 * row["share"], ".0f")
            rows.append([f"`{row['name']}`", number(row["median_us"], ".1f"), number(row["gb_s"], ",.0f"), percent])
    if not rows:
        return nothing("kernels")
    return table(["operation", "µs", "GB/s", "% of the limit"], rows) + "\n" + source(found, "kernels")


def profile(found):
    """What Nsight Compute says of the heaviest kernels."""
    cases = found["profile"][1]["results"].get("cases", []) if "profile" in found else []
    rows = []
    for case in cases:
        for kernel in case["kernels"]:
            values = [kernel["metrics"].get(section, {}).get(name, ["–"]) for section, name in PROFILED]
            read = [" ".join(str(part) for part in value if part) for value in values]
            rows.append([f"`{case['case']}`", f"`{kernel['kernel']}`", *read])
    if not rows:
        return nothing("profile")
    return table(["operation", "kernel", *(name for _, name in PROFILED)], rows) + "\n" + source(found, "profile")


# Sections and metrics as ncu names them; some names stand in several sections.
SPEED = "GPU Speed Of Light Throughput"
PROFILED = (
    (SPEED, "Duration"), (SPEED, "Compute (SM) Throughput"), (SPEED, "Memory Throughput"),
    (SPEED, "L2 Cache Throughput"), (SPEED, "DRAM Throughput"),
    ("Compute Workload Analysis", "Executed Ipc Active"), ("Occupancy", "Achieved Occupancy"),
    ("Launch Statistics", "Registers Per Thread"),
)


def peer_convolutions(result):
    """(layer, pass) -> row, as engine.convolution_times."""
    rows = (result or {}).get("rows", [])
    return {(name, row["pass"]): row for row in rows for name in (row["name"], *row["same_as"])}


def layer_keys(ours, theirs):
    """The convolutions in the network's order, each measurement once, by the first layer that has it."""
    for times in (*ours, *theirs):
        keys, seen = [], []
        for key, row in times.items():
            measured = {name: value for name, value in row.items() if name not in ("name", "layer")}
            if measured not in seen:
                seen.append(measured)
                keys.append(key)
        if keys:
            return keys
    return []


def choices(found):
    """The kernel that is the fastest for each convolution, beside the one that runs unmeasured."""
    entries = found["tune"][1]["results"].get("tune", []) if "tune" in found else []
    pairs = engine.winners(entries[0].get("ours")) if entries else []
    if not pairs:
        return nothing("tune")
    rows = []
    for winner, usual in pairs:
        cells = [choice(winner), number(winner["median_us"], ".1f"), choice(usual), number(usual["median_us"], ".1f")]
        share = number(None if winner.get("share") is None else 100 * winner["share"], ".0f")
        name, direction = winner["layer"], (winner.get("direction") or "").replace("_", " ")
        rows.append([f"`{name}`", direction, *cells, number(usual["median_us"] / winner["median_us"], ".2f"), share])
    header = ["convolution", "pass", "fastest", "µs", "unmeasured", "µs", "unmeasured / fastest", "% of the limit"]
    note = f"Batch {entries[0]['batch']}, caches warm. "
    return table(header, rows) + "\n" + note + source(found, "tune")


def choice(row):
    """`mma`, 96 columns, 8 parts."""
    parts = [f"{row[key]} {word}" for key, word in (("columns", "columns"), ("splits", "parts")) if row.get(key)]
    return ", ".join([f"`{row['kernels']}`", *parts])


def ladder(found):
    """The rungs of the convolution's ladder."""
    bench = found["kernels"][1]["results"].get("ladder") if "kernels" in found else None
    return rungs(bench, found) if engine.rows(bench) else nothing("kernels")


def rungs(bench, found):
    rows = []
    for row in engine.rows(bench):
        cells = [number(row["median_us"], ".1f"), number(row.get("tflop_s"), ".1f")]
        percent = number(None if row.get("share") is None else 100 * row["share"], ".0f")
        rows.append([f"`{row['name']}`", f"`{row.get('kernels', '')}`", *cells, percent])
    return table(["case", "kernels", "µs", "TFLOP/s", "% of the limit"], rows) + "\n" + source(found, "kernels")


def fusion(found):
    """A step with every fusion, with none, and without each."""
    bench = found["step"][1]["results"].get("fusion") if "step" in found else None
    if not engine.rows(bench):
        return nothing("step")
    rows = []
    for row in engine.rows(bench):
        moved = None if row.get("bytes") is None else row["bytes"] / 2**30
        rows.append([row["name"], number(row["median_us"] / 1000, ".2f"), number(moved, ".2f")])
    return table(["step", "ms", "GiB read and written at least"], rows) + "\n" + source(found, "step")


BLOCKS = {
    "stages": stages, "step": step, "choices": choices, "ladder": ladder, "fusion": fusion, "passes": passes,
    "breakdown": breakdown, "profile": profile, "train": report_training.train,
}
# Blocks of files that are no stage's.
FOLDER_BLOCKS = {"reproduce": report_training.reproduce, "curves": report_training.curves}


# -------------------------------------------------------------------------------------------------------- main


def blocks(folder):
    """name -> what stands in a block of this name, by the results of a folder."""
    found = results.newest(folder)
    written = {name: block(found) for name, block in BLOCKS.items()}
    written |= {name: block(found, folder) for name, block in FOLDER_BLOCKS.items()}
    return written | {"layers": layers(found, predictions(folder))}


def rewritten(text, written, path):
    """The text with every block as it is to be written. Raises ValueError for a block that cannot be written."""
    opened = text.count("<!-- results:")
    if opened != len(BLOCK.findall(text)):
        raise ValueError(f"{path}: a <!-- results:NAME --> stands without its <!-- end --> or not on a line of its own")

    def block(match):
        start, name, old, end = match.groups()
        if name not in written:
            raise ValueError(f"{path}: no block '{name}'; the blocks are {', '.join(written)}")
        if "<!-- results:" in old:
            raise ValueError(f"{path}: the block '{name}' has no <!-- end -->")
        return start + "\n" + written[name] + "\n" + end

    return BLOCK.sub(block, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", default=os.path.join(HERE, "results"), help="the folder of the result files")
    parser.add_argument("--readme", default=os.path.join(os.path.dirname(HERE), "README.md"))
    args = parser.parse_args()
    try:
        with open(args.readme) as file:
            old = file.read()
        new = rewritten(old, blocks(args.results), args.readme)
    except (OSError, ValueError) as error:
        sys.exit(f"report.py: {error}")
    if args.check and new != old:
        sys.exit(f"report.py: {args.readme} is not what {args.results} holds; run benches/report.py")
    if not args.check and new != old:
        with open(args.readme, "w") as file:
            file.write(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
