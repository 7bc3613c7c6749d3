"""The blocks of report.py about training: time to an accuracy, the paper's tables, our curves beside PyTorch's."""

import glob
import os

import engine
from markdown import nothing, number, source, table

TARGETS = ("94.0", "94.99", "95.0")


def details(found):
    """What stage `train` came to, in a few words."""
    parts = []
    accuracy = found.get("fast", {}).get("spread", {}).get("accuracy", {})
    if accuracy.get("count"):
        parts.append(f"fast: {accuracy['mean']:.2f} % in {accuracy['count']} runs")
    if found.get("curves"):
        parts.append("curves agree with PyTorch's" if found["curves"]["agree"] else "curves DISAGREE with PyTorch's")
    for name, runs in found.get("reproduced", {}).items():
        count = sum(run["state"] == "finished" for run in runs)
        parts += [f"{name}: {count} runs finished"] if count else []
    return ", ".join(parts)


def of_stage(found, key):
    """What the newest result of stage `train` holds under a key."""
    return found["train"][1]["results"].get(key) if "train" in found else None


def mean(spread, form, of=None):
    """`95.12 ± 0.08`; where fewer runs came to it than there are, how many did."""
    if not spread or not spread["count"]:
        return "–"
    text = format(spread["mean"], form)
    if spread["deviation"] is not None:
        text += f" ± {format(spread['deviation'], form)}"
    return text if of in (None, spread["count"]) else f"{text} ({spread['count']} of {of})"


# ------------------------------------------------------------------------------------------------------- train


def train(found):
    """Seconds to an accuracy and accuracy, ours beside airbench's."""
    fast = of_stage(found, "fast")
    if not fast or not fast["spread"]["accuracy"]["count"]:
        return nothing("train")
    spread, runs = fast["spread"], fast["spread"]["accuracy"]["count"]
    cells = [mean(spread[f"to {target} %"]["training_seconds"], ".1f", runs) for target in TARGETS]
    whole = [mean(spread[key], form) for key, form in WHOLE]
    rows = [[f"`{fast['model']}`, recipe `{fast['recipe']}`", str(runs), *cells, *whole]]
    for row in (of_stage(found, "airbench") or {}).get("rows", []):
        values = row.get("summary", {})
        count = len(row["runs"])
        whole = [mean({"count": count, **values[key]} if key in values else None, form) for key, form in WHOLE]
        if count:
            rows.append([row["name"], str(count), "–", "–", "–", *whole])
    header = ["", "runs", *(f"to {float(target):g} %, s" for target in TARGETS)]
    header += ["all of it, s", "test accuracy, %", "with mirror images, %"]
    note = (
        "Mean ± deviation of the seeds. Seconds of training steps, batches drawn among them: without loading or "
        "evaluating; airbench's by its own clock, which has its whitening too. "
    )
    return table(header, rows) + "\n" + note + source(found, "train")


WHOLE = (("training_seconds", ".1f"), ("accuracy", ".2f"), ("flipped_accuracy", ".2f"))


# ------------------------------------------------------------------------------------------------- reproduction


def reproduce(found, folder):
    """The tables as far as their runs have finished, each with how it departs from the paper."""
    del found
    parts = []
    for path in sorted(glob.glob(os.path.join(folder, "reproduce-*.json"))):
        report = engine.read_json(path)
        if report is None or "cells" not in report:
            raise ValueError(f"{path} is no table of rir reproduce; delete or restore it")
        if not report["synthetic"]:
            parts.append(one_table(report, os.path.basename(path)))
    return "\n".join(parts) or nothing("train")


def one_table(report, name):
    """A table of the paper."""
    rows, waiting = [], 0
    for cell in report["cells"]:
        begun = [run for run in cell["runs"] if run["state"] != "to-do"]
        waiting += len(cell["runs"]) - len(begun)
        if not begun:
            continue
        half = "" if cell["half_interval"] is None else f" ± {cell['half_interval']:.2f}"
        ours = "–" if cell["mean"] is None else f"{cell['mean']:.2f}{half}"
        paper = cell["published"] if report["is_comparable"] else None
        theirs = f"{paper['accuracy']:.2f}, {paper['confidence']}" if paper else "–"
        rows.append([cell["row"], cell["column"], f"`{cell['model']}`", ours, str(cell["n"]), theirs, standing(begun)])
    how = "; ".join(deviation["what"] for deviation in report["deviations"])
    usual = "Trained as in the paper" if report["is_of_paper"] else "A table of ours"
    how = f"Not as in the paper: {how}" if how else usual
    precision, digest = report["precision"], report["data_digest"][:12]
    note = f"{how}; {report['data']} (digest {digest}), {precision}. "
    note += f"{waiting} runs have not begun. " if waiting else ""
    header = [report["rows"], "", "network", "test accuracy, %", "seeds", "the paper's", "runs"]
    text = f"**{report['title']}**\n\n" + table(header, rows) + f"\n{note}[`{name}`](benches/results/{name})\n"
    text += "".join(f"\n- {c['of']} - {c['and']}, {c['row']}: {c['sentence']}" for c in report.get("comparisons", []))
    return text.rstrip("\n") + "\n" + "".join(streams(cell) for cell in report["cells"] if cell.get("streams"))


def streams(cell):
    """What a stream behind each layer, and each layer's identity, are worth to a cell's networks."""
    found, parts = cell["streams"], ("without_residual", "without_transient", "without_identity")
    rows = []
    for layer in found["layers"]:
        changes = (layer.get(part) or {} for part in parts)
        rows.append([layer["layer"], *(number(change.get("mean"), "+.2f") for change in changes)])
    head = f"\n`{cell['model']}`, {found['analyzed']} analyzed on {found['images']:,} test images"
    return f"{head}; change of accuracy in points:\n\n" + table(["layer", "without r", "without t", "without E"], rows)


def standing(runs):
    """`finished`, or where those stand that are not."""
    others = [run for run in runs if run["state"] != "finished"]
    words = {"begun": lambda run: f"step {run['steps']:,} of {run['total_steps']:,}"}
    return ", ".join(words.get(run["state"], lambda run: run["state"])(run) for run in others) or "finished"


# ------------------------------------------------------------------------------------------------------ curves


def curves(found, folder):
    """Our training curves beside PyTorch's: on a card, and what the processor's comparison came to."""
    compared = of_stage(found, "curves")
    text = tested(compared) + "\n" + verdict(compared) + " " + source(found, "train") if compared else nothing("train")
    for path in sorted(glob.glob(os.path.join(folder, "cpu-curves-*.json")))[-1:]:
        result, name = engine.read_json(path), os.path.basename(path)
        if result is None:
            raise ValueError(f"{path} is no JSON; delete or restore it")
        text += f"\nOn the processor, a narrow RiR on CIFAR-10:\n\n{tested(result)}\n{verdict(result)} "
        text += f"[`{name}`](benches/results/{name})\n"
    return text


def tested(result):
    """Every fifth stretch of the curve, its mean, and the accuracy."""
    stretches = result["stretches"]
    step = max(1, len(stretches) // 4)
    named = ((f"loss of steps {s['first_step']:,} to {s['last_step']:,}", s) for s in stretches[step - 1 :: step])
    rows = [(name, stretch, ".3f") for name, stretch in named]
    rows += [("loss of all", result["mean_loss"], ".3f"), ("test accuracy, %", result["test_accuracy"], ".2f")]
    lines = []
    for name, test, form in rows:
        sides = (
            f"{number(test[side], form)} ± {number(test[f'{side}_deviation'], form)}" for side in ("ours", "peer")
        )
        lines.append([name, *sides, number(test["difference"], form), number(test["band"], form)])
    return table(["", "rir", "PyTorch", "difference", "99 % band"], lines)


def verdict(result):
    """The sentence below."""
    seeds = result["seeds"]
    agree = "agree" if result["agree"] else "**disagree**"
    return (
        f"{seeds['ours']} and {seeds['peer']} seeds; {result['outside']} of {len(result['stretches'])} stretches of "
        f"the curve outside of their band, {result['allowed_outside']} allowed: they {agree}."
    )
