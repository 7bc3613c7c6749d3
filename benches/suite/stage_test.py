"""Stage `test`: is it right on this device? The table of operations, training beside the CPU, the same bits again."""

import signal

import engine
import tensors

# How far a loss may be from the CPU's: the first is one forward pass; in the next few the update's rounding, and a ReLU
# that it flips, have moved the weights. Later ones are recorded, not judged: training amplifies any difference.
LIMITS = {"f32": {"first": 1e-5, "next": 1e-2}, "bf16": {"first": 1e-2, "next": 1e-1}}
NEXT = 4


def run(work):
    table(work)
    for precision in ("f32", "bf16"):
        beside_the_cpu(work, precision)
    resumed(work)


def table(work):
    """Every operation against its definition."""
    command = work.suite.engine.check(work.suite.scale.check_filter)
    work.run("check", command, 0.7 * work.left(), wrong={7: "a row failed"})
    # Of a failed table too: its rows are more than the output that a failure keeps.
    work.results["check"] = engine.checked(work.last) if work.last else None


def training(work, precision, steps):
    """Options of a run. An epoch of at most twenty steps has a line of metrics for each."""
    scale = work.suite.scale
    subset = scale.steps * scale.batch
    options = ["--model", scale.model, *scale.data, "--recipe", "paper", "--lr", "0.02", "--seed", "0"]
    options += ["--batch-size", str(scale.batch), "--subset", str(subset), "--steps", str(steps)]
    return [*options, "--precision", precision]


def beside_the_cpu(work, precision):
    """The same run on the CPU and twice on the device: like losses, and the same bits."""
    options = training(work, precision, work.suite.scale.steps)
    device = work.suite.engine.device
    folders = {}
    for name, where in (("cpu", "cpu"), ("first", device), ("second", device)):
        folder = work.temporary(f"{precision}-{name}")
        title = f"train {precision} on {where}" + (", again" if name == "second" else "")
        if work.run(title, work.suite.engine.train(folder, options, where), work.share(3)):
            folders[name] = folder
    found = {name: engine.losses(folder) for name, folder in folders.items()}
    if "cpu" in found and "first" in found:
        work.results[f"losses {precision}"] = compare(work, precision, found["cpu"], found["first"])
    if "first" in folders and "second" in folders:
        same_bits(work, f"same seed twice, {precision}", folders["first"], folders["second"])


def compare(work, precision, cpu, ours):
    """Both curves, and by how much the first losses differ."""
    name, limits = f"losses {precision}", LIMITS[precision]
    if len(cpu) != len(ours) or not cpu:
        work.fail(name, f"{len(ours)} losses, but the cpu has {len(cpu)}")
        return {"cpu": cpu, "ours": ours}
    apart = [abs(a - b) / abs(b) for a, b in zip(ours, cpu)]
    for i, error in enumerate(apart[: 1 + NEXT]):
        limit = limits["next" if i else "first"]
        if not error <= limit:
            work.fail(name, f"step {i + 1}: loss {ours[i]}, but {cpu[i]} on the cpu; the limit is {limit:.0e} of it")
            break
    return {"cpu": cpu, "ours": ours, "first_off_by": apart[0], "next_off_by": max(apart[1 : 1 + NEXT], default=0.0)}


def same_bits(work, name, one, other):
    """Whether two runs ended with the same tensors, velocities included."""
    try:
        a, b = (tensors.load(f"{folder}/checkpoint.safetensors") for folder in (one, other))
    except (OSError, ValueError) as error:
        work.fail(name, f"no checkpoints to compare: {error}")
        return
    differing = sorted(n for n in set(a) | set(b) if a.get(n) != b.get(n))
    work.results[name] = {"tensors": len(a), "differing": len(differing)}
    if differing:
        work.fail(name, f"{len(differing)} of {len(a)} tensors differ, {differing[0]} among them")


def resumed(work):
    """A run that is interrupted and continued has the bits of one that is not."""
    options = training(work, "bf16", work.suite.scale.long_steps)
    whole, parts = work.temporary("whole"), work.temporary("parts")
    asked = []

    def interrupt(process):
        if not asked and engine.metrics(parts):
            asked.append(True)
            process.send_signal(signal.SIGINT)

    if not work.run("train, uninterrupted", work.suite.engine.train(whole, options), work.share(3)):
        return
    done = work.run("train, interrupted", work.suite.engine.train(parts, options), work.share(2), watch=interrupt)
    if not done:
        return
    summary = engine.last_line(done)
    if summary.get("stopped") != "interrupted":
        work.skip("resume", "the run had ended before it could be interrupted")
        return
    if work.run("train, resumed", work.suite.engine.resume(parts), work.share(1)):
        work.results["resume"] = {"interrupted_after": summary.get("steps"), "of": summary.get("total_steps")}
        same_bits(work, "resumed run", whole, parts)
