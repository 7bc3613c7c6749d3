"""Stage `tune`: which kernels are the fastest for every convolution, batch by batch, the one that matters most first.

The winners lie below the output, in `choices/`, by card and kernels; stages that run later, in this call or another, take
them. In a rehearsal every candidate is checked, and nothing is ranked or taken.
"""

import os

import engine


def run(work):
    scale = work.suite.scale
    tasks = []
    for place, batch in enumerate(scale.batches):
        # The first batch is that of the figures; a convolution has tens of candidates, and takes some ten seconds.
        tasks.append((8 if place == 0 else 1, lambda seconds, batch=batch: one(work, batch, seconds)))
    work.in_turn(tasks)


def one(work, batch, seconds):
    """Every convolution at this batch."""
    suite = work.suite
    output = work.temporary("tune.json")
    engine.forget(output)
    title = f"bench tune {os.path.basename(suite.scale.model)} batch {batch}"
    command = suite.engine.tune(suite.scale.model, batch, suite.choices, output, 0.9 * seconds, suite.scale.bench)
    work.run(title, command, 2 * seconds + 20, wrong={7: "a candidate failed"})
    found = engine.read_json(output)
    left_out = engine.not_run(found)
    if left_out:
        work.skip(f"{title}: {len(left_out)} convolutions from {left_out[0]} on", "no time was left")
    if found:
        work.results.setdefault("tune", []).append({"batch": batch, "ours": found})
    suite.take_choices()
    work.save()
