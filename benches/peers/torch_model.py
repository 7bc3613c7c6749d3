"""ResNet in ResNet and its siblings in PyTorch, in the form that costs PyTorch least: one convolution a layer.

A generalized layer is one convolution with W + E. E is added to the f32 weight before that is rounded to the type of
the activations, so that what the network holds is W + E as rounded, and the gradient is W's. Beside it the form that
the paper draws, four convolutions between the two streams. Module names are the checkpoint's.

Tensors inside are N C H W with channels last in memory. Batch norm's parameters and statistics keep the wider type.
"""

import torch
import torch.nn.functional as F
from torch import nn

from description import (
    EPSILON, RUNNING_MOMENTUM, blocks_of, changes_shape, check_description, has_identity, has_outer, identity_channels,
    residual_inputs,
)

# The weights of a layer of four convolutions: from and to the residual (r) and the transient (t) stream.
STREAMS = ("rr", "tr", "rt", "tt")


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that does not count its batches: nothing reads the count, and it costs a launch a layer."""

    def __init__(self, channels):
        super().__init__(channels, eps=EPSILON, momentum=1 - RUNNING_MOMENTUM)
        self.num_batches_tracked = None


class FourConvolutions(nn.Module):
    """A generalized layer's convolution as the paper draws it: r' = rr * r + tr * t + r, t' = rt * r + tt * t."""

    def __init__(self, c_in, c_out, stride, h_in, h_out):
        super().__init__()
        if h_out < h_in:
            raise ValueError(f"four convolutions need as many residual outputs as inputs; {h_in} became {h_out}")
        self.stride, self.h_in, self.h_out = stride, h_in, h_out
        inputs, outputs = {"r": h_in, "t": c_in - h_in}, {"r": h_out, "t": c_out - h_out}
        for name in STREAMS:
            source, target = name
            setattr(self, name, nn.Parameter(torch.empty(outputs[target], inputs[source], 3, 3)))

    def forward(self, x):
        r, t = x[:, : self.h_in], x[:, self.h_in :]

        def conv(stream, weight):
            return F.conv2d(stream, weight, stride=self.stride, padding=1)

        shortcut = pad_shortcut(r, self.h_out, self.stride)
        r_next = conv(r, self.rr) + conv(t, self.tr) + shortcut
        t_next = conv(r, self.rt) + conv(t, self.tt)
        return torch.cat([r_next, t_next], 1)

    def split(self, w):
        """W [c_out, c_in, 3, 3] as the four weights."""
        rows, columns = {"r": w[: self.h_out], "t": w[self.h_out :]}, self.h_in
        cut = {name: rows[name[1]][:, :columns] if name[0] == "r" else rows[name[1]][:, columns:] for name in STREAMS}
        return {name: part.clone() for name, part in cut.items()}

    def join(self, parts):
        """The inverse of `split`."""
        top = torch.cat([parts["rr"], parts["tr"]], 1)
        return torch.cat([top, torch.cat([parts["rt"], parts["tt"]], 1)], 0)


class ConvBn(nn.Module):
    """A convolution without bias, padded to keep the extents, and its batch norm."""

    def __init__(self, conv, c_out):
        super().__init__()
        self.conv, self.bn = conv, BatchNorm(c_out)

    def forward(self, x):
        return self.bn(self.conv(x))


def pad_shortcut(x, c_out, stride):
    """The identity, subsampled, with zero channels appended."""
    x = x[:, :, ::stride, ::stride]
    return F.pad(x, (0, 0, 0, 0, 0, c_out - x.shape[1]))


class Network(nn.Module):
    """A model by its description; `four` takes FourConvolutions for its generalized layers.

    images [N, 3, H, W] -> logits [N, classes]. Where `activations` is a dict, each layer's output [N, C, H, W] is put
    there: after batch norm and ReLU, and for the last layer of a block after the outer shortcut.
    """

    def __init__(self, desc, four=False):
        super().__init__()
        check_description(desc)
        self.desc, self.activations = desc, None
        self.blocks = list(blocks_of(desc))
        self.stem = self.plain(3, desc["widths"][0], 3, 1)
        for block in self.blocks:
            group, name = block.name.split(".")
            if not hasattr(self, group):
                setattr(self, group, nn.ModuleDict())
            getattr(self, group)[name] = self.block(block, four)
        if desc["head"] == "conv":
            self.head = self.plain(desc["widths"][2], desc["classes"], 1, 1)
        else:
            self.head = nn.ModuleDict({"linear": nn.Linear(desc["widths"][2], desc["classes"])})

    @staticmethod
    def plain(c_in, c_out, size, stride):
        return ConvBn(nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False), c_out)

    def block(self, block, four):
        layers, c_in, stride = {}, block.c_in, block.stride
        for name in block.layers:
            if four and has_identity(self.desc):
                halves = [residual_inputs(self.desc, c) for c in (c_in, block.c_out)]
                layer = ConvBn(FourConvolutions(c_in, block.c_out, stride, *halves), block.c_out)
            else:
                layer = self.plain(c_in, block.c_out, 3, stride)
            layers[name.split(".")[-1]] = layer
            c_in, stride = block.c_out, 1
        if has_outer(self.desc) and changes_shape(block) and self.desc["projection"] != "pad":
            size = 3 if self.desc["projection"] == "3x3" else 1
            layers["shortcut"] = self.plain(block.c_in, block.c_out, size, block.stride)
        return nn.ModuleDict(layers)

    def keep(self, name, x):
        if self.activations is not None:
            self.activations[name] = x
        return x

    def forward(self, images):
        x = self.keep("stem", F.relu(self.stem(images), inplace=True))
        for block in self.blocks:
            group, name = block.name.split(".")
            layers = getattr(self, group)[name]
            outer = None
            if has_outer(self.desc):
                outer = layers["shortcut"](x) if "shortcut" in layers else x
                if changes_shape(block) and self.desc["projection"] == "pad":
                    outer = pad_shortcut(x, block.c_out, block.stride)
            for path in block.layers:
                z = layers[path.split(".")[-1]](x)
                closes = outer is not None and path == block.layers[-1]
                if closes:
                    z = z + outer
                x = self.keep(path, z if closes and not self.desc["outer_relu"] else F.relu(z, inplace=True))
        wide = self.stem.bn.running_mean.dtype
        if self.desc["head"] == "conv":
            return self.head(x).mean((2, 3), dtype=wide)
        return self.head["linear"](x.mean((2, 3), dtype=wide))


def identity(desc, weight):
    """E for a layer's weight: what W + E has beyond W."""
    e = torch.zeros_like(weight)
    for i in range(identity_channels(desc, *weight.shape[:2])):
        e[i, i, 1, 1] = 1
    return e
