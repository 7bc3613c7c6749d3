"""Stage `train`: how fast recipe `fast` trains, whether PyTorch's curves are ours, and what the paper's tables come to.

In this order, each part with all the time that is left, its result written after every run:

    fast        rir-18-wide on CIFAR-10, three seeds; accuracy also with the mirror image of every test image; the first
                epoch that came to each accuracy of TARGETS, with the seconds until then
    airbench    airbench95 and airbench96 on the same card
    curves      a short run of the same recipe, three seeds of ours and three of PyTorch's, held to each other
    paper       `rir reproduce`: rir-18-wide with the paper's recipe on CIFAR-10, then on CIFAR-100
    siblings    the other three families of that geometry on CIFAR-10
    analysis    of the RiR of `paper`
    tables      everything else that `rir reproduce` has

Runs lie in `runs/` and `reproduced/` below the output; called again with the same output, the stage goes on where it
stopped. A rehearsal trains tiny networks; what would take the emulator minutes runs on the processor, and is named so.
"""

import os

import engine
import results

TARGETS = (94.0, 94.99, 95.0)
SIBLINGS = ("resnet-18-wide", "resnet-init-18-wide", "cnn-18-wide")
CLOCK = (
    "training_seconds: steps alone, with the drawing of their batches; load_seconds: from the program's start to the "
    "first step; seconds: all of it, evaluations and checkpoints too"
)


def run(work):
    suite = work.suite
    if suite.engine.device == "cuda" and not suite.data:
        for name in ("fast", "airbench", "curves", "reproduce", "analysis"):
            work.skip(name, "it needs CIFAR-10: --data DIR")
        return
    if suite.scale.train_device != suite.engine.device:
        work.results["rehearsed_on"] = {"fast": suite.engine.device, "the rest": suite.scale.train_device}
    fast(work)
    airbench(work)
    curves(work)
    reproduce(work, "cifar10", ["rir-18-wide"])
    reproduce(work, "cifar100", ["rir-18-wide"])
    reproduce(work, "cifar10", SIBLINGS)
    analysis(work)
    # Every cell once before any twice; the intervals come with the other seeds.
    for seeds in (1, suite.scale.seeds):
        for table in suite.scale.tables:
            reproduce(work, table, seeds=seeds)


# ---------------------------------------------------------------------------------------------------- our runs


def place(work, name):
    """Where a run or a peer's file lies; with other kernels another place, so that it begins anew."""
    kernels = results.short(work.heading["kernels_hash"])
    return os.path.join(work.suite.output, "runs", f"{work.suite.engine.device}-{name}-{kernels}")


def environment(work):
    return {"RIR_DATA": os.path.abspath(work.suite.data)} if work.suite.data else {}


def limit_of(seconds):
    """When the program is to stop by itself: the rest is for its start, a last evaluation and a checkpoint."""
    return max(1, int(max(0.85 * seconds, seconds - 30)))


def one_run(work, name, options, device=None):
    """(folder, summary) of a run that is begun, continued, or finished already."""
    suite, folder = work.suite, place(work, name)
    begun = os.path.isfile(os.path.join(folder, "config.toml"))
    summary = engine.read_json(f"{folder}.json") or {}
    if not summary.get("finished"):
        limit = ["--time-limit", f"{limit_of(work.left())}s"]
        if begun:
            command = suite.engine.resume(folder, limit)
        else:
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            command = suite.engine.train(folder, ["--model", suite.scale.train_model, *options, *limit], device)
        done = work.run(f"train {name}" + (", continued" if begun else ""), command, environment=environment(work))
        if done:
            summary = engine.last_line(done)
            results.write(f"{folder}.json", summary)
    if summary and not summary.get("finished"):
        work.skip(name, f"it stands at step {summary.get('steps')} of {summary.get('total_steps')}; call again")
    return folder, summary


def fast(work):
    """Seconds to an accuracy."""
    suite = work.suite
    source = ["--data", "cifar10"] if suite.engine.device == "cuda" else suite.scale.data
    runs = []
    for seed in range(suite.scale.seeds):
        folder, summary = one_run(work, f"fast-s{seed}", [*source, *suite.scale.fast, "--seed", str(seed)])
        lines = engine.metrics(folder)
        if not summary or not lines:
            continue
        found = engine.summed_up(folder, summary) | {"reached": engine.reached(lines, TARGETS)}
        found["flipped_accuracy"] = flipped(work, folder) if found["finished"] else None
        runs.append(found | {"curve": engine.epochs_of(lines)})
        work.results["fast"] = {key: summary.get(key) for key in ("model", "recipe", "precision", "data")}
        spread = spread_of([run for run in runs if run["finished"]])
        work.results["fast"] |= {"clock": CLOCK, "runs": runs, "spread": spread}
        work.save()


def flipped(work, folder):
    """The accuracy with test-time flips, measured once and kept beside the run."""
    kept = f"{folder}-flipped.json"
    found = engine.read_json(kept)
    if found is None:
        title, command = f"eval {os.path.basename(folder)}", work.suite.engine.evaluate(folder)
        done = work.run(title, command, 300.0, environment(work))
        found = {"flipped_accuracy": engine.flipped_accuracy(done) if done else None}
        if found["flipped_accuracy"] is not None:
            results.write(kept, found)
    return found["flipped_accuracy"]


def spread_of(runs):
    """Mean and sample deviation over the seeds; of a target also how many seeds came to it."""
    keys = ("accuracy", "flipped_accuracy", "training_seconds", "load_seconds", "seconds", "images_per_second")
    spread = {key: results.spread([run.get(key) for run in runs]) for key in keys}
    for target in map(str, TARGETS):
        firsts = [run["reached"][target] for run in runs if run["reached"][target]]
        names = ("epoch", "training_seconds", "seconds")
        spread[f"to {target} %"] = {key: results.spread([first[key] for first in firsts]) for key in names}
    return spread


# ------------------------------------------------------------------------------------------------------- peers


def airbench(work):
    """The package's own seconds and accuracies."""
    suite, output = work.suite, place(work, "airbench") + ".json"
    if suite.engine.device != "cuda":
        return work.skip("airbench", "it runs on nothing but a card")
    why = suite.peers.lacks("airbench")
    if why:
        return work.skip("airbench", why)
    found = engine.read_json(output) or {}
    if found.get("failed") or sum(len(row["runs"]) for row in found.get("rows", [])) < 2 * suite.scale.seeds:
        engine.forget(output)
        command = suite.peers.airbench(os.path.abspath(suite.data), suite.scale.seeds, 0.8 * work.left(), output)
        work.run("airbench95, airbench96", command, may_be_cut=True)
        found = engine.read_json(output)
    for text in (found or {}).get("not_run", []):
        work.skip("airbench", text)
    if found:
        work.results["airbench"] = found
    work.save()


def curves(work):
    """Three short runs of ours beside three of PyTorch's by the same recipe."""
    suite = work.suite
    why = suite.peers.lacks("torch") if suite.data else "it needs CIFAR-10: --data DIR"
    if why:
        return work.skip("curves", why)
    seeds, device = range(suite.scale.seeds), suite.scale.train_device
    ours, theirs = [], []
    for seed in seeds:
        options = ["--data", "cifar10", *suite.scale.curves, "--seed", str(seed)]
        folder, summary = one_run(work, f"curves-s{seed}", options, device)
        ours += [folder] if summary.get("finished") else []
    for seed in seeds if ours else ():
        output = place(work, f"curves-torch-s{seed}") + ".json"
        if not is_finished(engine.read_json(output)):
            command = suite.peers.torch_train(ours[0], os.path.abspath(suite.data), seed, limit_of(work.left()), output)
            work.run(f"torch, the same recipe, seed {seed}", command, may_be_cut=True)
        theirs += [output] if is_finished(engine.read_json(output)) else []
    if min(len(ours), len(theirs)) < 2:
        return work.skip("curves", f"{len(ours)} runs of ours and {len(theirs)} of PyTorch's have finished; call again")
    output = place(work, "curves") + ".json"
    engine.forget(output)
    command = suite.peers.compare_curves(ours, theirs, output)
    work.run("our curves beside PyTorch's", command, 60.0, wrong={1: "they disagree"})
    work.results["curves"] = engine.read_json(output)
    first = engine.read_json(theirs[0]) or {}
    work.results["curves_peer"] = {key: first.get(key) for key in ("versions", "device_name", "command")}
    work.save()


def is_finished(found):
    """Whether a file of torch_train.py holds a whole run."""
    return bool(found) and all(run["finished"] for run in found["runs"]) and bool(found["runs"])


# ------------------------------------------------------------------------------------------------- reproduction


def reproduced(work):
    """The folder of `rir reproduce`."""
    return os.path.join(work.suite.output, "reproduced")


def reproduce(work, table, only=(), seeds=1):
    """Trains on what a table has not yet, or those of its cells; its JSON is kept beside the stages' results."""
    suite, output = work.suite, reproduced(work)
    name = " ".join(["reproduce", table, *only, *([f"{seeds} seeds"] if seeds > 1 else [])])
    if work.left() < suite.scale.least_seconds:
        return work.skip(name, "no time was left")
    if table == "cifar100" and suite.data and not any("cifar-100" in name for name in os.listdir(suite.data)):
        return work.skip(name, f"no CIFAR-100 in {suite.data}: data-scripts/fetch-cifar.sh 100 {suite.data}")
    data = os.path.abspath(suite.data) if suite.engine.device == "cuda" else "synthetic"
    options = ["--data", data, *suite.scale.reproduce, "--seeds", str(seeds)]
    options += [text for cell in only for text in ("--only", cell)]
    command = suite.engine.reproduce(table, output, limit_of(work.left()), options, suite.scale.train_device)
    work.run(name, command)
    found = engine.table(output, table)
    if found is None:
        return None
    results.write(os.path.join(suite.output, f"reproduce-{table}.json"), found)
    runs = engine.runs_of(found)
    work.results.setdefault("reproduced", {})[table] = [run for run in runs if run["state"] != "to-do"]
    asked = [run for run in runs if not only or run["cell"] in only]
    for run in (run for run in asked if run["state"] == "begun"):
        work.skip(name, f"{run['run']} stands at step {run['steps']} of {run['total_steps']}; call again")
    waiting = sum(run["state"] == "to-do" for run in asked)
    if waiting:
        work.skip(name, f"{waiting} runs have not begun; call again")
    if only and "rir-18-wide" in only:
        lines = {run["run"]: engine.epochs_of(engine.metrics(engine.run_folder(output, run["run"]))) for run in asked}
        work.results.setdefault("paper_curves", {}).update(lines)
    work.save()
    return None


def analysis(work):
    """Of the RiR that was trained by the paper's recipe, once that has finished."""
    output = reproduced(work)
    runs = [run for run in engine.runs_of(engine.table(output, "cifar10")) if run["cell"] == "rir-18-wide"]
    finished = next((run["run"] for run in runs if run["state"] == "finished"), None)
    if finished is None:
        return work.skip("analysis", "rir-18-wide of the table cifar10 has not finished")
    folder = os.path.join(output, "analysis", finished)
    found = engine.read_json(os.path.join(folder, "analysis.json"))
    if found is None:
        scale, run_folder = work.suite.scale, engine.run_folder(output, finished)
        command = work.suite.engine.analyze(run_folder, folder, scale.analyze, scale.train_device)
        work.run(f"analyze {finished}", command, environment=environment(work))
        found = engine.read_json(os.path.join(folder, "analysis.json"))
    if found is not None:
        work.results["analysis"] = found
    work.save()
    return None
