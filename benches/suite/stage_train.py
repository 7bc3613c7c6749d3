"""Stage `train`: whole training runs of rir-18-wide, on CIFAR-10 where its folder is given.

A short run first, for an accuracy within minutes; then the paper's recipe for as long as there is time. A run lies in
`runs/` below the output; called again with the same output, the stage goes on where it stopped.
"""

import os

import engine
import results

# Of a run's lines of steps, twenty an epoch, the last are kept; of its epochs all.
STEPS_KEPT = 400


def run(work):
    scale, data = work.suite.scale, work.suite.data
    source = ["--data", "cifar10"] if data else scale.data
    one_run(work, "short", [*source, *scale.train], 2 if data else 1)
    if data:
        one_run(work, "paper", [*source, "--recipe", "paper", "--precision", "bf16"], 1)
    else:
        work.skip("paper's recipe", "it needs CIFAR-10: --data DIR")


def one_run(work, name, options, commands):
    """One run, begun or continued; of one that has finished, what it came to. Other kernels begin anew."""
    suite = work.suite
    kernels = results.short(work.heading["kernels_hash"])
    folder = os.path.join(suite.output, "runs", f"{suite.engine.device}-{name}-{kernels}")
    begun = os.path.isfile(os.path.join(folder, "config.toml"))
    summary = engine.read_json(f"{folder}.json") or {}
    if not summary.get("finished"):
        seconds = work.share(commands)
        # The program ends before its limit, with an evaluation and a checkpoint; the rest is for its start.
        limit = ["--time-limit", f"{max(1, int(0.85 * seconds))}s"]
        if begun:
            command = suite.engine.resume(folder, limit)
        else:
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            command = suite.engine.train(folder, ["--model", suite.scale.train_model, *options, *limit])
        environment = {"RIR_DATA": os.path.abspath(suite.data)} if suite.data else {}
        title = f"train {name}" + (", continued" if begun else "")
        done = work.run(title, command, seconds + 30.0, environment)
        if done:
            summary = engine.last_line(done)
            results.write(f"{folder}.json", summary)
    lines = engine.metrics(folder)
    if not lines:
        return
    curve, steps = ([line for line in lines if line["kind"] == kind] for kind in ("epoch", "step"))
    run = {"name": name, "continued": begun, "summary": summary, "curve": curve, "steps": steps[-STEPS_KEPT:]}
    work.results.setdefault("runs", []).append(run)
    work.save()
