"""Stage `kernels`: each kernel's time beside its limit, each rung of the ladder, each convolution beside cuDNN's.

Ours and PyTorch's alternate, A B A B: what drifts with the card's clocks meets both alike.
"""

import os

import card
import engine


def run(work):
    scale = work.suite.scale
    first, *others = scale.layer_batches
    tasks = by_turns(work, first)
    tasks.append((2, lambda seconds: bench(work, "ladder", "ladder", "conv2d", None, seconds)))
    tasks.append((2, lambda seconds: bench(work, "ops", "ops", None, None, seconds)))
    for batch in others:
        tasks += by_turns(work, batch)
    work.in_turn(tasks)


def by_turns(work, batch):
    """Tasks that time every convolution of the network, ours and the peer's alternately."""
    tasks = []
    for number in range(1, work.suite.scale.rounds + 1):
        entry = {"batch": batch, "round": number}

        def ours(seconds, entry=entry):
            work.results.setdefault("layers", []).append(entry)
            entry["card"] = [card.state()]
            note = f"round {entry['round']}"
            entry["ours"] = bench(work, None, "layers", work.suite.scale.model, batch, seconds, note)

        def theirs(seconds, entry=entry):
            entry["card"].append(card.state())
            entry["torch"] = torch(work, batch, entry["round"], seconds)
            entry["card"].append(card.state())
            work.save()

        tasks += [(3, ours), (3, theirs)]
    return tasks


def bench(work, key, what, subject, batch, seconds, note=""):
    """One `rir bench`; its JSON, kept in the results by `key` where it has one. None where it did not run."""
    output = work.temporary("bench.json")
    engine.forget(output)
    named = subject and os.path.basename(subject)
    title = " ".join(str(part) for part in ("bench", what, named, f"batch {batch}" if batch else None, note) if part)
    options = work.suite.scale.bench if subject == work.suite.scale.model else ()
    # The program begins no case after its limit, and is given as long again to end.
    work.run(title, work.suite.engine.bench(what, subject, batch, output, 0.9 * seconds, options), 2 * seconds + 20)
    found = engine.read_json(output)
    left_out = engine.not_run(found)
    if left_out:
        work.skip(f"{title}: {len(left_out)} cases from {left_out[0]} on", "no time was left")
    if key and found:
        work.results[key] = found
    work.save()
    return found


def torch(work, batch, number, seconds):
    """The peer's convolutions; None where they did not run."""
    title = f"torch layers batch {batch} round {number}"
    why = work.suite.peers.lacks("torch")
    if why:
        work.skip(title, why)
        return None
    output = work.temporary("torch.json")
    engine.forget(output)
    command = work.suite.peers.torch_layers(batch, 0.8 * seconds, output)
    work.run(title, command, 1.5 * seconds + 20, may_be_cut=True)
    return peer_result(work, title, output)


def peer_result(work, title, output):
    """What a peer wrote, also where it was cut off; what it left out is named. None where it wrote nothing."""
    found = engine.read_json(output)
    for left_out in (found or {}).get("not_run", []):
        name, _, why = left_out.rpartition(": ")
        work.skip(f"{title}: {name}", why)
    return found
