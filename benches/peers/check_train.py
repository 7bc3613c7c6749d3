"""Holds what torch_train.py adds to a step to its definitions, written out: batches, SGD's options, looking ahead.

    python check_train.py      # seconds, on the processor
"""

import sys

import torch
import torch.nn.functional as F

from description import describe
from torch_batches import Batches, normalisation
from torch_step import Training
from torch_train import Lookahead

PLAIN = {"pad": 0, "flip": False, "border": "zero", "cutout": 0}


def batches(generator, kind="none", **changes):
    """Eight random images, and the set of them that is augmented so; a pixel is never 0, which is what cuts leave."""
    pixels = torch.randint(1, 256, (8, 32, 32, 3), generator=generator, dtype=torch.uint8)
    labels, fitted = torch.arange(8), normalisation(kind, pixels)
    return Batches(pixels, labels, fitted, {**PLAIN, **changes}, torch.float32, generator)


def check_batches(generator):
    """(what, whether it holds) of normalisation, order, crops, flips and cuts."""
    drawn = batches(generator)
    images, axes = drawn.pixels.permute(0, 3, 1, 2).float() / 255, (0, 2, 3)
    for kind, expected in (
        ("none", images), ("per-pixel-mean", images - images.mean(0)),
        ("per-channel", (images - images.mean(axes, keepdim=True)) / images.std(axes, correction=0, keepdim=True)),
    ):
        fitted = normalisation(kind, drawn.pixels)
        plain = Batches(drawn.pixels, drawn.labels, fitted, PLAIN, torch.float32, generator).plain(drawn.pixels)
        yield f"preprocess {kind}", torch.allclose(plain, expected, atol=1e-5)

    seen = [(x, labels) for x, labels in drawn.epoch(0, 3)]
    yield "an epoch drops its partial batch", [len(labels) for _, labels in seen] == [3, 3]
    yield "no image twice", len(torch.cat([labels for _, labels in seen]).unique()) == 6
    yield "labels are their images'", all(torch.equal(x, images[labels]) for x, labels in seen)

    which, no, yes = torch.arange(8), torch.zeros(8, dtype=torch.bool), torch.ones(8, dtype=torch.bool)
    yield "flips", torch.equal(drawn.drawn(which, yes), images.flip(-1))
    alternating = batches(generator, flip="alternating")
    first, second, third = (alternating.flips(which, epoch) for epoch in range(3))
    yield "alternating flips", torch.equal(first, ~second) and torch.equal(first, third)
    yield "no flips", not drawn.flips(which, 0).any()
    share = torch.stack([batches(generator, flip=True).flips(which, 0) for _ in range(100)]).float().mean()
    # 800 coins: the deviation is 0.018.
    yield "random flips", abs(share - 0.5) < 0.08

    for border, mode in (("zero", "constant"), ("reflect", "reflect")):
        cropped = batches(generator, pad=2, border=border)
        padded = F.pad(cropped.plain(cropped.pixels), (2,) * 4, mode)
        places = {(y, x): padded[:, :, y : y + 32, x : x + 32] for y in range(5) for x in range(5)}
        found = set()
        for _ in range(60):
            for i, image in enumerate(cropped.drawn(which, no)):
                found.add(next((place for place, crop in places.items() if torch.equal(image, crop[i])), None))
        # 480 draws miss one of 25 places once in 3e8.
        yield f"crops, border {border}", found == set(places)

    cut = batches(generator, cutout=12)
    plain, sizes = cut.plain(cut.pixels), []
    fine = True
    for _ in range(60):
        for image, whole in zip(cut.drawn(which, no), plain):
            rows, columns = (image == 0).all(0).any(1), (image == 0).all(0).any(0)
            hole = rows[:, None] & columns[None, :]
            fine &= torch.equal(image, whole * ~hole)
            sizes += [int(rows.sum()), int(columns.sum())]
    yield "a rectangle is cut, at most 12 and at least half of that", fine and max(sizes) == 12 and min(sizes) == 6
    # Of 32 centres, 21 leave the square whole.
    yield "most squares are whole", abs(sizes.count(12) / len(sizes) - 21 / 32) < 0.08


def check_updates(generator):
    """The same of SGD with each of its options: two steps beside the formulas, in f64."""
    desc = describe("rir-32") | {"widths": [4, 4, 8], "blocks": [1, 1, 1]}
    for options in ({}, {"nesterov": True}, {"decay_scale": False}, {"shift_rate": 64.0}):
        training = Training(desc, "cpu", torch.float64, torch.float64)
        training.initialise(generator)
        expected = {name: training.master(name).detach().clone() for name in training.leaves}
        velocities = {name: torch.zeros_like(w) for name, w in expected.items()}
        for _ in range(2):
            random = {name: torch.randn(w.shape, generator=generator, dtype=w.dtype) for name, w in expected.items()}
            training.update(random, 0.1, 0.9, 0.01, **options)
            for name, w in expected.items():
                is_scale, is_shift = name.endswith(".bn.weight"), name.endswith(".bias")
                decays = not is_shift and (not is_scale or options.get("decay_scale", True))
                gradient = random[name] + (0.01 * (w - float(is_scale)) if decays else 0)
                velocity = velocities[name] = 0.9 * velocities[name] + gradient
                direction = gradient + 0.9 * velocity if options.get("nesterov") else velocity
                expected[name] = w - 0.1 * (options.get("shift_rate", 1.0) if is_shift else 1.0) * direction
        same = all(torch.allclose(training.master(name), w, rtol=1e-12, atol=1e-12) for name, w in expected.items())
        yield f"update with {options or 'no option'}", same

    lookahead = Lookahead(training, {"every": 2, "share": 0.25})
    slow = training.masters["stem.conv.weight"].clone()
    with torch.no_grad():
        training.masters["stem.conv.weight"] += 1
    lookahead.after(1, 4)
    yield "not looking ahead between", torch.allclose(training.masters["stem.conv.weight"], slow + 1)
    lookahead.after(2, 4)
    share = 1 - 0.75 * 0.5**3
    yield "looking ahead", torch.allclose(training.masters["stem.conv.weight"], slow + share)
    with torch.no_grad():
        training.masters["stem.conv.weight"] += 1
    lookahead.after(4, 4)
    yield "looking ahead at the end", torch.allclose(training.masters["stem.conv.weight"], slow + share + 0.25)


def main():
    generator, failed = torch.Generator().manual_seed(0), 0
    for check in (check_batches, check_updates):
        for what, holds in check(generator):
            failed += not holds
            print(f"{'ok  ' if holds else 'FAIL'}  {what}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
