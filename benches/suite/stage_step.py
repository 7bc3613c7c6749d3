"""Stage `step`: the whole training step, ours beside PyTorch's forms and JAX's, on the same card in the same run.

They alternate, A B C A B C, batch by batch, the batch that matters most first. Before PyTorch is timed its numbers are
held to ours.
"""

import array
import random

import card
import engine
import tensors
from stage_kernels import bench


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
    turns = [(first, number) for number in range(1, scale.rounds + 1)]
    turns += [(batch, number) for number in range(1, scale.rounds + 1) for batch in others]
    for i, (batch, number) in enumerate(turns):
        turn(work, batch, number, whys, len(turns) - i)
        if i + 1 == scale.rounds:
            bench(work, "fusion", "fusion", scale.model, first, 3 * (len(turns) - i))
            if not whys["torch"]:
                four = torch(work, first, scale.four_forms, "four convolutions", 2 * (len(turns) - i))
                work.results["four"] = four


def turn(work, batch, number, whys, turns):
    """Each once. PyTorch compiles, so its share of a turn is the largest."""
    entry = {"batch": batch, "round": number, "card": [card.state()]}
    entry["ours"] = bench(work, None, "step", work.suite.scale.model, batch, 6 * turns, f"round {number}")
    entry["card"].append(card.state())
    if not whys["torch"]:
        entry["torch"] = torch(work, batch, work.suite.scale.forms, f"round {number}", 1.5 * turns)
        entry["card"].append(card.state())
    if not whys["jax"]:
        entry["jax"] = jax(work, batch, number, 2 * turns)
        entry["card"].append(card.state())
    work.results.setdefault("step", []).append(entry)
    work.save()


def torch(work, batch, forms, note, commands):
    """PyTorch's step in these forms; what it wrote, also where it was cut off."""
    output, seconds = work.temporary("torch.json"), max(work.share(commands), 45.0)
    engine.forget(output)
    title = f"torch step batch {batch} {note}"
    # A form that has begun may compile for as long again.
    work.run(title, work.suite.peers.torch_step(batch, forms, 0.5 * seconds, output), 2 * seconds)
    found = engine.read_json(output) or {"rows": [], "not_run": [], "failed": []}
    for left_out in found["not_run"]:
        work.skip(f"{title}: {left_out}", "see there")
    return found


def jax(work, batch, number, commands):
    """JAX's step."""
    output = work.temporary("jax.json")
    engine.forget(output)
    work.run(f"jax step batch {batch} round {number}", work.suite.peers.jax_step(batch, output), max(work.share(commands), 60.0))
    return engine.read_json(output)


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
