"""CIFAR's official binary files as PyTorch tensors, wherever below a folder they lie."""

import os

import torch

# name -> folder, files of training and test images, bytes of labels before an image, which of them counts, classes
SETS = {
    "cifar10": ("cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"], 1, 0, 10),
    "cifar100": ("cifar-100-binary", ["train.bin"], ["test.bin"], 2, 1, 100),
}
PIXELS = 3 * 32 * 32


def find(path, wanted=None):
    """(name of the set, its folder): `path` itself, or the set's usual folder in it. Raises ValueError without one."""
    for name, (usual, train, *_rest) in SETS.items():
        for folder in (path, os.path.join(path, usual)):
            if wanted in (None, name) and os.path.isfile(os.path.join(folder, train[0])):
                return name, folder
    raise ValueError(f"{path} holds no {wanted or 'CIFAR'} in its binary form; data-scripts/fetch-cifar.sh fetches it")


def classes(name):
    return SETS[name][-1]


def load(name, folder, split):
    """(pixels [N, 32, 32, 3] as bytes, labels [N]) of `train` or `test`. Raises ValueError for a damaged file."""
    _usual, train, test, before, which, _classes = SETS[name]
    parts = []
    for file in train if split == "train" else test:
        path = os.path.join(folder, file)
        with open(path, "rb") as stream:
            data = bytearray(stream.read())
        if not data or len(data) % (before + PIXELS):
            raise ValueError(f"{path} is cut short: {len(data)} bytes are no whole number of images")
        parts.append(torch.frombuffer(data, dtype=torch.uint8).view(-1, before + PIXELS))
    records = torch.cat(parts)
    pixels = records[:, before:].view(-1, 3, 32, 32).permute(0, 2, 3, 1).contiguous()
    return pixels, records[:, which].long()
