"""How large everything is: on a card as it is to be measured, in a rehearsal as small as it goes."""

import json
import os
import struct
from dataclasses import dataclass, field

TINY = {
    "family": "rir", "widths": [8, 16, 32], "blocks": [1, 1, 1], "layers_per_block": 2, "projection": "3x3",
    "head": "conv", "residual_share": 0.5, "outer_relu": True, "classes": 2,
}
TINY_SIZE = 8


@dataclass
class Scale:
    """What the stages run."""

    model: str  # a name or a .toml file, for our program
    peer_model: list  # the same model, as the peers' options
    tiny: list  # a tiny network with its data, as our program's options
    data: list = field(default_factory=lambda: ["--data", "synthetic"])
    image_size: int = 32
    bench: tuple = ()  # options of every `rir bench` of the model
    # test
    check_filter: str = ""
    steps: int = 20  # of the runs that are compared; a line of metrics each
    batch: int = 16  # of these runs
    long_steps: int = 400  # of the run that is interrupted
    # kernels, step: the first batch is the one that matters most
    layer_batches: tuple = (500, 528)
    batches: tuple = (500, 128, 1024, 528)
    rounds: int = 2
    forms: tuple = ("eager", "graphs", "compiled-graphs", "compiled")
    four_forms: tuple = ("four-graphs", "four-compiled")
    peer_steps: int = 30
    peer_repeats: int = 20
    peer_precision: str = "bf16"
    # train
    train_model: str = "rir-18-wide"
    fast: tuple = ("--recipe", "fast", "--precision", "bf16")
    curves: tuple = ("--recipe", "fast", "--precision", "bf16", "--epochs", "4")
    seeds: int = 3
    least_seconds: float = 45.0  # of a table: what the part before it leaves for its own end begins none
    # What is trained on CIFAR, or would take the emulator minutes, is rehearsed on the processor.
    train_device: str = "cuda"
    reproduce: tuple = ("--precision", "bf16")
    analyze: tuple = ("--precision", "bf16", "--batch-size", "500")
    tables: tuple = ("ingredients", "cifar10", "depth", "all-cnn", "streams", "few-data", "cifar100")


def of(device, folder):
    """The scale for a device; the tiny network and its images are written to the folder."""
    model, images = os.path.join(folder, "tiny.toml"), os.path.join(folder, "images")
    write_toml(model, TINY)
    write_images(images, {"train": 12, "test": 2})
    data = ["--data", images, "--image", f"{TINY_SIZE}x{TINY_SIZE}"]
    tiny = ["--model", model, *data]
    if device == "cuda":
        return Scale("rir-18-wide", ["--model", "rir-18-wide"], tiny)
    return Scale(
        model, ["--description", json.dumps(TINY)], tiny, data, TINY_SIZE, ("--image", f"{TINY_SIZE}x{TINY_SIZE}"),
        check_filter="two_stream_update/n2h2w2", steps=4, batch=4, long_steps=12, layer_batches=(2, 3), batches=(2, 3),
        forms=("eager", "graphs"), four_forms=("four-eager",), peer_steps=3, peer_repeats=3,
        train_model=model, fast=("--recipe", "quick", "--batch-size", "4", "--steps", "6"),
        curves=("--recipe", "quick", "--batch-size", "20", "--steps", "20"), seeds=2, least_seconds=3.0,
        train_device="cpu",
        reproduce=("--narrow", "8", "--recipe", "quick", "--epochs", "1", "--subset", "100"), tables=("all-cnn",),
        analyze=("--images", "50", "--similarity-images", "20"),
    )


def write_toml(path, desc):
    """A description of the peers as our program reads it."""
    lines = ['name = "tiny"', f'family = "{desc["family"]}"', f'stem = {desc["widths"][0]}', f'head = "{desc["head"]}"']
    for g, (width, blocks) in enumerate(zip(desc["widths"], desc["blocks"])):
        lines += ["", "[[groups]]", f"width = {width}", f"blocks = {blocks}", f"stride = {2 if g else 1}"]
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def write_images(folder, counts):
    """So many images a class and split, as BMP: two classes, light above or light below."""
    for split, count in counts.items():
        for label, name in enumerate(("above", "below")):
            target = os.path.join(folder, split, name)
            os.makedirs(target, exist_ok=True)
            for i in range(count):
                with open(os.path.join(target, f"{i}.bmp"), "wb") as file:
                    file.write(bmp(label, 37 * i + (5 if split == "test" else 0)))


def bmp(label, shift):
    """A square image of 24 bits a pixel; a row of TINY_SIZE pixels is a multiple of four bytes."""
    pixels = bytearray()
    for row in range(TINY_SIZE):
        light = (row < TINY_SIZE // 2) == (label == 1)
        for column in range(TINY_SIZE):
            pixels += bytes((shift + 11 * row + 7 * column + k + 120 * light) % 128 + 127 * light for k in range(3))
    file = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    info = struct.pack("<IiiHHIIiiII", 40, TINY_SIZE, TINY_SIZE, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return file + info + bytes(pixels)
