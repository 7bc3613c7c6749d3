"""Stage `step`: the whole training step, ours beside PyTorch's forms and JAX's, on the same card in the same run.

They alternate, A B C A B C, batch by batch, the batch that matters most first. Before PyTorch is timed its numbers are
held to ours.
"""

import array
import random

import card
import engine
import tensors
from stage_kernels import bench, peer_result


def run(work):
    scale, peers = work.suite.scale, work.suite.peers
    whys = {name: peers.lacks(name) for name in ("torch", "jax")}
    for name, why in whys.items():
        if why:
            work.skip(name, why)
    if not whys["torch"] and not same_numbers(work):
        whys["torch"] = "its numbers are not ours"
        work.skip("torch", whys["torch"])
    first, *others = scale.batches
    rounds = range(1, scale.rounds + 1)
    tasks = [task for number in rounds for task in turn(work, first, number, whys)]
    tasks.append((2, lambda seconds: bench(work, "fusion", "fusion", scale.model, first, seconds)))
    tasks += [task for number in rounds for batch in others for task in turn(work, batch, number, whys)]
    if not whys["torch"]:

        def four(seconds):
            work.results["four"] = torch(work, first, scale.four_forms, "four convolutions", seconds)

        tasks.append((3, four))
    work.in_turn(tasks)


def turn(work, batch, number, whys):
    """Tasks that time each once. PyTorch compiles for minutes, and less when it has compiled the like before."""
    entry, note = {"batch": batch, "round": number, "card": []}, f"round {number}"

    def ours(seconds):
        work.results.setdefault("step", []).append(entry)
        entry["card"].append(card.state())
        entry["ours"] = bench(work, None, "step", work.suite.scale.model, batch, seconds, note)

    def pytorch(seconds):
        entry["card"].append(card.state())
        entry["torch"] = torch(work, batch, work.suite.scale.forms, note, seconds)

    def with_jax(seconds):
        entry["card"].append(card.state())
        entry["jax"] = jax(work, batch, note, seconds)
        entry["card"].append(card.state())
        work.save()

    tasks = [(1, ours)]
    tasks += [] if whys["torch"] else [(4 if number == 1 else 2, pytorch)]
    return tasks if whys["jax"] else [*tasks, (1.5, with_jax)]


def torch(work, batch, forms, note, seconds):
    """PyTorch's step in these forms; what it wrote, also where it was cut off."""
    output = work.temporary("torch.json")
    engine.forget(output)
    title = f"torch step batch {batch} {note}"
    # A form that has begun may compile for as long as all before it.
    command = work.suite.peers.torch_step(batch, forms, 0.6 * seconds, output)
    work.run(title, command, 1.3 * seconds + 20, may_be_cut=True)
    return peer_result(work, title, output)


def jax(work, batch, note, seconds):
    """JAX's step."""
    output = work.temporary("jax.json")
    engine.forget(output)
    title = f"jax step batch {batch} {note}"
    work.run(title, work.suite.peers.jax_step(batch, output), 2 * seconds + 20, may_be_cut=True)
    return peer_result(work, title, output)


def same_numbers(work):
    """Whether PyTorch's logits, loss, activations and gradients are ours, in f64 on the processor."""
    model, size = work.suite.scale.model, work.suite.scale.image_size
    classes = 2 if size < 32 else 10
    checkpoint, batch, trace = (work.temporary(f"{name}.safetensors") for name in ("initial", "batch", "trace"))
    rng = random.Random(0)
    pixels = array.array("f", [rng.gauss(0, 1) for _ in range(4 * 3 * size * size)])
    labels = array.array("i", [rng.randrange(classes) for _ in range(4)])
    images = tensors.Tensor("F32", (4, 3, size, size), pixels.tobytes())
    tensors.save(batch, {"images": images, "labels": tensors.Tensor("I32", (4,), labels.tobytes())})
    rir = work.suite.engine.binary
    init = [rir, "init", "--model", model, "--classes", str(classes), "--image", f"{size}x{size}", "--seed", "1"]
    commands = (
        ("init", [*init, "--output", checkpoint]),
        ("trace", [rir, "trace", "--train", "--checkpoint", checkpoint, "--input", batch, "--output", trace]),
        ("torch's numbers beside ours", work.suite.peers.torch_check(trace, checkpoint, batch)),
    )
    for name, command in commands:
        done = work.run(name, command, 180.0, wrong={1: "they differ"} if "torch" in name else None)
        if not done:
            return False
    work.results["same_numbers"] = done.stdout.strip().splitlines()
    return True
