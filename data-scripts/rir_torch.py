#!/usr/bin/env python3
"""The networks of rir as plain PyTorch modules, for the state dicts that `rir convert --format torch` writes.

    from rir_torch import load
    model, describe = load("served.safetensors")      # nn.Module in eval mode, and the file's description
    logits = model(images)                            # [N 3 H W] -> [N classes]

An ordinary network (`--to resnet`, `--to cnn`) is nn.Conv2d, nn.BatchNorm2d and ReLU, nothing else. A network with the
identity E (rir, resnet-init) adds a constant to its filters; its parameters are W alone, so it trains on as rir does.

    python rir_torch.py FILE --image cat.png                            # classes and probabilities
    python rir_torch.py FILE --input batch.safetensors                  # logits
    python rir_torch.py FILE --input batch.safetensors --check trace.safetensors

--check holds the logits, in f64, to those that `rir trace` computed of the same batch, and exits with 1 if they differ.
If the trace is of the network before --to, whose filters were then rounded to f32, give --limit 1e-6.
Needs torch and safetensors; numpy and pillow for --image.
"""

import argparse
import json
import math
import sys

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn


class Conv2dWithIdentity(nn.Conv2d):
    """A convolution with W + E: E copies the first `identity` channels through the centre tap. The parameter is W."""

    def __init__(self, c_in, c_out, size, stride, identity):
        super().__init__(c_in, c_out, size, stride, size // 2, bias=False)
        e = torch.zeros(c_out, c_in, size, size)
        for i in range(identity):
            e[i, i, size // 2, size // 2] = 1
        self.register_buffer("identity", e, persistent=False)

    def forward(self, x):
        return F.conv2d(x, self.weight + self.identity, None, self.stride, self.padding)


class ConvBn(nn.Module):
    """Convolution and batch norm, without ReLU: `conv.weight`, `bn.*`."""

    def __init__(self, c_in, c_out, size=1, stride=1, identity=0):
        super().__init__()
        if identity:
            self.conv = Conv2dWithIdentity(c_in, c_out, size, stride, identity)
        else:
            self.conv = nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-5, momentum=0.1)

    def forward(self, x):
        return self.bn(self.conv(x))


class PaddedShortcut(nn.Module):
    """The identity, every `stride`-th row and column, with zero channels appended or the last channels left out."""

    def __init__(self, c_out, stride):
        super().__init__()
        self.c_out, self.stride = c_out, stride

    def forward(self, x):
        x = x[:, : self.c_out, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.c_out - x.shape[1]))


class Block(nn.Module):
    """Layers with one outer shortcut over all of them, where the family has one: `layer1`, ..., `shortcut`."""

    def __init__(self, model, c_in, c_out, stride):
        super().__init__()
        self.count, self.outer_relu = model["layers-per-block"], model["outer-relu"]
        size = model["size"]
        for i in range(self.count):
            c, s = (c_in, stride) if i == 0 else (c_out, 1)
            self.add_module(f"layer{i + 1}", ConvBn(c, c_out, size, s, identity(model, c, c_out)))
        self.has_outer = model["family"] in ("resnet", "rir")
        if not self.has_outer or (stride == 1 and c_in == c_out):
            self.shortcut = nn.Identity()
        elif model["projection"] == "pad":
            self.shortcut = PaddedShortcut(c_out, stride)
        else:
            self.shortcut = ConvBn(c_in, c_out, size if model["projection"] == "3x3" else 1, stride)

    def forward(self, x):
        y = x
        for i in range(1, self.count):
            y = F.relu(self.get_submodule(f"layer{i}")(y))
        y = self.get_submodule(f"layer{self.count}")(y)
        if self.has_outer:
            y = y + self.shortcut(x)
        return y if self.has_outer and not self.outer_relu else F.relu(y)


class LinearHead(nn.Module):
    """Global average pool, then a linear layer: `linear.weight`, `linear.bias`."""

    def __init__(self, c_in, classes):
        super().__init__()
        self.linear = nn.Linear(c_in, classes)

    def forward(self, x):
        return self.linear(x.mean((2, 3)))


class ConvHead(ConvBn):
    """A 1x1 convolution to the classes and batch norm, then the global average pool."""

    def forward(self, x):
        return super().forward(x).mean((2, 3))


class Network(nn.Module):
    """A network from its description (the `model` of the file's metadata); images [N C H W] -> logits [N classes]."""

    def __init__(self, model, image, classes):
        super().__init__()
        height, width, channels = image
        self.flatten = model["flatten"]
        c = model["stem"]
        self.stem = ConvBn(height * width * channels if self.flatten else channels, c, model["size"])
        self.body = []
        for g, group in enumerate(model.get("groups", []), start=1):
            blocks = nn.Module()
            self.add_module(f"group{g}", blocks)
            for b in range(group["blocks"]):
                block = Block(model, c, group["width"], group["stride"] if b == 0 else 1)
                blocks.add_module(f"block{b + 1}", block)
                self.body.append(f"group{g}.block{b + 1}")
                c = group["width"]
        for i, layer in enumerate(model.get("layers", []), start=1):
            width = layer["width"]
            conv_bn = ConvBn(c, width, layer["size"], layer["stride"], identity(model, c, width))
            self.add_module(f"layer{i}", conv_bn)
            self.body.append(f"layer{i}")
            c = width
        self.head = (ConvHead if model["head"] == "conv" else LinearHead)(c, classes)

    def forward(self, x):
        if self.flatten:
            # One pixel with H W C channels, the channel running fastest.
            x = x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 1, 1)
        x = F.relu(self.stem(x))
        for name in self.body:
            x = self.get_submodule(name)(x)
            if name.startswith("layer"):
                x = F.relu(x)
        return self.head(x)


def identity(model, c_in, c_out):
    """Channels that E copies in a layer; 0 in an ordinary family."""
    if model["family"] not in ("resnet-init", "rir"):
        return 0
    return min(math.floor(c_in * model["residual-share"]), c_in, c_out)


def load(path):
    """The network of a state dict, in eval mode, and its metadata: `model`, `image`, `classes`, `mean`, `inv_std`..."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    if "rir" not in metadata or "rir-preprocess" not in metadata:
        raise ValueError(f"{path} is no state dict of rir's; rir convert --format torch writes one")
    info = json.loads(metadata["rir"]) | json.loads(metadata["rir-preprocess"])
    network = Network(info["model"], info["image"], len(info["classes"]))
    network.load_state_dict(load_file(path), strict=True)
    return network.eval(), info


def read_image(path, info):
    """An image file of the network's size as its input [1 C H W]."""
    import numpy as np
    from PIL import Image

    height, width, channels = info["image"]
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB"))
    if pixels.shape != (height, width, channels):
        raise ValueError(f"{path} is {pixels.shape[0]}x{pixels.shape[1]}, the network takes {height}x{width}")
    mean = torch.tensor(info["mean"]).reshape(-1, channels)
    mean = mean.expand(height * width, channels).reshape(height, width, channels)
    x = (torch.tensor(pixels).float() / 255 - mean) * torch.tensor(info["inv_std"])
    return x.permute(2, 0, 1).unsqueeze(0)


def check(network, images, trace, limit):
    """Whether the logits of `images`, in f64, are those of the trace."""
    logits, reference = network.double()(images.double()), trace["logits"].double()
    if logits.shape != reference.shape:
        raise ValueError(f"the trace has logits {list(reference.shape)}, the network gives {list(logits.shape)}")
    error = float((logits - reference).norm() / reference.norm())
    holds = error <= limit
    print(f"{'ok  ' if holds else 'FAIL'}  logits {list(logits.shape)}: relative error {error:.1e}, limit {limit:.0e}")
    return holds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", help="a state dict: rir convert --format torch")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--image", help="an image file of the network's size")
    source.add_argument("--input", help="a batch as for rir trace: images [N C H W]")
    parser.add_argument("--check", metavar="TRACE", help="rir trace's result of that batch, to compare with")
    parser.add_argument("--limit", type=float, default=1e-10, help="relative error that --check allows [1e-10]")
    args = parser.parse_args()
    if args.check and not args.input:
        parser.error("--check needs the --input that the trace was made of")
    try:
        network, info = load(args.file)
        with torch.no_grad():
            if args.image:
                probabilities = network(read_image(args.image, info)).softmax(1)[0]
                ranked = sorted(zip(probabilities.tolist(), info["classes"]), reverse=True)
                for probability, name in ranked[:5]:
                    print(f"{100 * probability:6.2f} %  {name}")
                return 0
            images = load_file(args.input)["images"]
            if args.check:
                return 0 if check(network, images, load_file(args.check), args.limit) else 1
            for row in network(images.float()).tolist():
                print("  ".join(f"{x:9.5f}" for x in row))
            return 0
    except (ImportError, OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
