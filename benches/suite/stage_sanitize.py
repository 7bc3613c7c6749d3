"""Stage `sanitize`: NVIDIA's compute-sanitizer over rows of the table of operations and two steps of training.

In a rehearsal the same commands run on the emulator, which does such checks itself.
"""

import re

import engine
import toolkit

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
# The tool's exit status where it found something; none of our program's own.
FOUND = 86
# Rows by their names: every kernel with shared memory or barriers, few shapes of each, since the tools are slow.
ROWS = (
    "conv2d/n2h8w8", "conv2d_data_grad/n2h8w8", "conv2d_weight_grad/", "two_stream_update/", "two_stream_reduce/",
    "two_stream_backward/", "batch_stats/", "batch_norm", "softmax_cross_entropy", "global_avg_pool", "linear", "sgd/",
)
REHEARSED_ROWS = ("two_stream_reduce/", "sgd/")


def run(work):
    suite = work.suite
    on_card = suite.engine.device == "cuda"
    tool_path = toolkit.find("compute-sanitizer") if on_card else None
    if on_card and not tool_path:
        for tool in TOOLS:
            work.skip(tool, toolkit.missing("compute-sanitizer"))
        return
    targets = [(row, lambda _, row=row: suite.engine.check(row)) for row in (ROWS if on_card else REHEARSED_ROWS)]
    # The training first: it has every kernel of a step, with the graph that training uses.
    targets.insert(0, ("two steps of training", lambda tool: two_steps(work, tool)))
    tools = TOOLS if on_card else ("emulator",)
    for name, command in targets:
        for tool in tools:
            one(work, tool, tool_path, name, command(tool))


def one(work, tool, tool_path, name, command):
    """One target under one tool."""
    title, log = f"{tool}: {name}", work.temporary("sanitizer.log")
    engine.forget(log)
    if tool_path:
        options = ["--tool", tool, "--error-exitcode", str(FOUND), "--print-limit", "20", "--log-file", log]
        command = [tool_path, *options, *command]
    done = work.run(title, command, max(60.0, work.left() / 4), wrong={FOUND: f"{tool} found errors"}, may_be_cut=True)
    text = toolkit.read(log)
    entry = {"target": name, "tool": tool, "passed": bool(done), "summary": summary(text)}
    if done:
        entry["seconds"] = round(done.seconds, 1)
        checked = engine.checked(done)
        entry |= {"cases": checked["cases"]} if checked else {}
    elif text and work.failed and work.failed[-1]["name"] == title:
        work.failed[-1]["output"] = text[:4000]
    work.results.setdefault("runs", []).append(entry)
    work.save()


def two_steps(work, tool):
    """Two steps of a tiny network in bf16."""
    folder = work.temporary(f"train-{tool}")
    options = ["--recipe", "quick", "--batch-size", "8", "--subset", "16", "--steps", "2", "--precision", "bf16"]
    return work.suite.engine.train(folder, [*work.suite.scale.tiny, *options])


def summary(text):
    """The tool's last line of totals, or nothing."""
    lines = re.findall(r"=+ *((?:ERROR|RACECHECK) SUMMARY:.*)", text)
    return lines[-1].strip() if lines else None
