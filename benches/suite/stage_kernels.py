"""Stage `kernels`: each kernel's time beside its limit, each rung of the ladder, each convolution beside cuDNN's.

Ours and PyTorch's alternate, A B A B: what drifts with the card's clocks meets both alike.
"""

import os

import card
import engine


def run(work):
    scale = work.suite.scale
    batches = scale.layer_batches
    for i, batch in enumerate(batches):
        layers(work, batch, commands_after=2 + 2 * scale.rounds * (len(batches) - 1 - i))
        if i == 0:
            bench(work, "ladder", "ladder", "conv2d", None, 2 + 2 * scale.rounds * (len(batches) - 1))
            bench(work, "ops", "ops", None, None, 1 + 2 * scale.rounds * (len(batches) - 1))


def layers(work, batch, commands_after):
    """Every convolution of the network, ours and the peer's in turn."""
    rounds = work.suite.scale.rounds
    for number in range(1, rounds + 1):
        left = 2 * (rounds - number) + commands_after
        entry = {"batch": batch, "round": number, "card": [card.state()]}
        ours = bench(work, None, "layers", work.suite.scale.model, batch, left + 2, f"round {number}")
        entry["card"].append(card.state())
        theirs = torch(work, batch, number, left + 1)
        entry |= {"ours": ours, "torch": theirs, "card": [*entry["card"], card.state()]}
        work.results.setdefault("layers", []).append(entry)
        work.save()


def bench(work, key, what, subject, batch, commands, note=""):
    """One `rir bench`; its JSON, kept in the results by `key` where it has one. None where it did not run."""
    output, seconds = work.temporary("bench.json"), work.share(commands)
    engine.forget(output)
    named = subject and os.path.basename(subject)
    title = " ".join(str(part) for part in ("bench", what, named, f"batch {batch}" if batch else None, note) if part)
    # The program names what did not fit its limit; a little more than that, and it hangs.
    work.run(title, work.suite.engine.bench(what, subject, batch, output, 0.9 * seconds), max(seconds, 30.0))
    found = engine.read_json(output)
    for left_out in engine.not_run(found):
        work.skip(f"{title}: {left_out}", "no time was left")
    if key and found:
        work.results[key] = found
    work.save()
    return found


def torch(work, batch, number, commands):
    """The peer's convolutions; None where they did not run."""
    title = f"torch layers batch {batch} round {number}"
    why = work.suite.peers.lacks("torch")
    if why:
        work.skip(title, why)
        return None
    output, seconds = work.temporary("torch.json"), work.share(commands)
    engine.forget(output)
    work.run(title, work.suite.peers.torch_layers(batch, 0.8 * seconds, output), max(seconds, 30.0))
    found = engine.read_json(output)
    for left_out in (found or {}).get("not_run", []):
        work.skip(f"{title}: {left_out}", "no time was left")
    return found
