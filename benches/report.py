#!/usr/bin/env python3
"""Writes the figures of README.md from the newest result files of the GPU suite; none is ever typed.

    benches/report.py            rewrites what stands between <!-- results:NAME --> and <!-- end -->
    benches/report.py --check    changes nothing; exit status 1 where the README is not what the files say

Needs nothing beyond Python. Where a stage has no result of a card, its block says so in one line.
"""

import argparse
import os
import re
import statistics
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "suite"))

import engine  # noqa: E402
import results  # noqa: E402

BLOCK = re.compile(r"(<!-- results:([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
FORMS = {
    "eager": "PyTorch eager", "graphs": "CUDA graphs", "compiled": "compiled",
    "compiled-graphs": "compiled, CUDA graphs",
}


# ----------------------------------------------------------------------------------------------------- writing


def table(header, rows):
    """A table of Markdown; a column's cells are text."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def number(value, form):
    """A number in its format, or a dash where there is none."""
    return "–" if value is None else format(value, form)


def source(found, stage):
    """A sentence that says where a block's figures are from."""
    path, result = found[stage]
    name = os.path.basename(path)
    day = result["date"][:10]
    return f"{result['card']}, driver {result['driver']}, {day}: [`{name}`](benches/results/{name}).\n"


def nothing(stage):
    return f"Nothing was measured on a card yet; `benches/gpu-suite.sh {stage}` does it.\n"


def median(values):
    """Of those that are numbers; None of none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


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


def train_details(found):
    parts = []
    for run in found.get("runs", []):
        curve = run["curve"]
        if not curve:
            continue
        last = curve[-1]
        kind = next((key for key in ("test_accuracy", "synthetic_test_accuracy") if key in last), None)
        if kind:
            words = kind.replace("_", " ")
            parts.append(f"{run['name']}: {words} {last[kind]:.2f} % after {last['epoch']} epochs")
    return ", ".join(parts)


DETAILS = {"test": test_details, "sanitize": sanitize_details, "tune": tune_details, "train": train_details}


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
        rates = [number(rate, ",.0f") for rate in (ours, *peers.values())]
        rows.append([str(batch), *rates, number(ratio, ".2f")])
    header = ["batch", "rir, images/s", *FORMS.values(), "JAX", "rir / the fastest peer"]
    note = "Ours also draws and augments its batch; the peers' batch lies there. "
    return table(header, rows) + "\n" + note + source(found, "step")


def images_per_second(row, batch):
    """Of a step's row."""
    return 1e6 * batch / row["median_us"] if row else None


def peer(result, form):
    """Images a second of a peer's form, or None."""
    rows = (result or {}).get("rows", [])
    return next((row["images_per_second"] for row in rows if row["form"] == form), None)


def layers(found):
    """Every different convolution: ours, cuDNN's, and the share of the card's limit that ours reaches."""
    entries = found["kernels"][1]["results"].get("layers", []) if "kernels" in found else []
    if not entries:
        return nothing("kernels")
    batch = entries[0]["batch"]
    rounds = [entry for entry in entries if entry["batch"] == batch]
    ours = [engine.convolution_times(entry.get("ours")) for entry in rounds]
    theirs = [peer_convolutions(entry.get("torch")) for entry in rounds]
    rows = []
    for key in layer_keys(ours, theirs):
        us, cudnn = (median([times[key].get("median_us") for times in side if key in times]) for side in (ours, theirs))
        share = median([times[key].get("share") for times in ours if key in times])
        rate = median([times[key].get("tflop_s") for times in ours if key in times])
        ratio = cudnn / us if us and cudnn else None
        cells = [number(us, ".1f"), number(rate, ".0f"), number(cudnn, ".1f")]
        percent = number(None if share is None else 100 * share, ".0f")
        rows.append([f"`{key[0]}`", key[1].replace("_", " "), *cells, number(ratio, ".2f"), percent])
    header = ["convolution", "pass", "rir, µs", "TFLOP/s", "cuDNN, µs", "cuDNN / rir", "% of the limit"]
    note = f"Batch {batch}, caches warm; ours with the identity and the statistics that it fuses, cuDNN's bare. "
    return table(header, rows) + "\n" + note + source(found, "kernels")


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
    "stages": stages, "step": step, "layers": layers, "choices": choices, "ladder": ladder, "fusion": fusion,
}


# -------------------------------------------------------------------------------------------------------- main


def rewritten(text, found, path):
    """The text with every block as the results have it. Raises ValueError for a block that cannot be written."""
    opened = text.count("<!-- results:")
    if opened != len(BLOCK.findall(text)):
        raise ValueError(f"{path}: a <!-- results:NAME --> stands without its <!-- end --> or not on a line of its own")

    def block(match):
        start, name, old, end = match.groups()
        if name not in BLOCKS:
            raise ValueError(f"{path}: no block '{name}'; the blocks are {', '.join(BLOCKS)}")
        if "<!-- results:" in old:
            raise ValueError(f"{path}: the block '{name}' has no <!-- end -->")
        return start + "\n" + BLOCKS[name](found) + "\n" + end

    return BLOCK.sub(block, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", default=os.path.join(HERE, "results"), help="the folder of the result files")
    parser.add_argument("--readme", default=os.path.join(os.path.dirname(HERE), "README.md"))
    args = parser.parse_args()
    try:
        found = results.newest(args.results)
        with open(args.readme) as file:
            old = file.read()
        new = rewritten(old, found, args.readme)
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
