"""The models of the peers as plain data: their dict, their blocks, the names and shapes of their parameters.

Needs nothing beyond Python, so that a peer runs without the others' frameworks.

A model is a dict:

    family            cnn | resnet | resnet-init | rir
    widths            channels of the three groups, residual and transient stream together
    blocks            blocks of the three groups
    layers_per_block  3x3 convolution layers in a block
    projection        3x3 | 1x1 | pad: the outer shortcut where a block changes the shape (resnet, rir)
    head              conv: 1x1 convolution to the classes, batch norm, global average pool (no ReLU anywhere)
                      linear: global average pool, then a linear map with bias
    residual_share    share of a layer's input channels that is the residual stream (resnet-init, rir)
    outer_relu        True: y = ReLU(BN(conv) + outer); False: y = BN(conv) + outer (resnet, rir)
    classes           number of classes
"""

import math
from collections import namedtuple

EPSILON = 1e-5
RUNNING_MOMENTUM = 0.9  # what a running statistic keeps of itself at each update

GEOMETRIES = {
    "32": dict(widths=[16, 32, 64], blocks=[5, 5, 5], layers_per_block=2, head="linear"),
    "18-wide": dict(widths=[96, 192, 384], blocks=[2, 3, 3], layers_per_block=2, head="conv"),
}
FAMILIES = ("cnn", "resnet", "resnet-init", "rir")
MODELS = [f"{family}-{geometry}" for family in FAMILIES for geometry in GEOMETRIES]


def describe(name, classes=10, **changes):
    """The description of a named model, such as `rir-18-wide`."""
    for geometry, shape in GEOMETRIES.items():
        family = name.removesuffix("-" + geometry)
        if family != name and family in FAMILIES:
            fixed = dict(projection="3x3", residual_share=0.5, outer_relu=True, classes=classes)
            return {"family": family, **shape, **fixed, **changes}
    raise ValueError(f"no model {name!r}; the models are {', '.join(MODELS)}")


def check_description(desc):
    """Raises for a description that the functions below would silently read as another model."""
    keys = set(describe("rir-32"))
    if set(desc) != keys:
        raise ValueError(f"a description has the keys {sorted(keys)}, not {sorted(desc)}")
    for key, values in dict(family=FAMILIES, projection=("3x3", "1x1", "pad"), head=("linear", "conv")).items():
        if desc[key] not in values:
            raise ValueError(f"{key} is {desc[key]!r}, but must be one of {values}")
    if not len(desc["widths"]) == len(desc["blocks"]) == 3:
        raise ValueError(f"widths {desc['widths']} and blocks {desc['blocks']} must have three entries each")


# A block: its layers' names; channels in and out; the stride of its first layer.
Block = namedtuple("Block", "name layers c_in c_out stride")


def blocks_of(desc):
    """The blocks of a model, in order."""
    c_in = desc["widths"][0]
    for g, (c_out, count) in enumerate(zip(desc["widths"], desc["blocks"]), start=1):
        for b in range(1, count + 1):
            name = f"group{g}.block{b}"
            layers = [f"{name}.layer{k}" for k in range(1, desc["layers_per_block"] + 1)]
            yield Block(name, layers, c_in, c_out, stride=2 if g > 1 and b == 1 else 1)
            c_in = c_out


def has_outer(desc):
    """Whether blocks have an outer shortcut."""
    return desc["family"] in ("resnet", "rir")


def has_identity(desc):
    """Whether layer convolutions apply W + E instead of W."""
    return desc["family"] in ("resnet-init", "rir")


def changes_shape(block):
    return block.stride != 1 or block.c_in != block.c_out


def parameter_shapes(desc):
    """Name -> shape of every trainable parameter, in checkpoint order."""
    check_description(desc)
    shapes = {}

    def conv_bn(name, c_out, c_in, size):
        shapes[f"{name}.conv.weight"] = (c_out, c_in, size, size)
        shapes[f"{name}.bn.weight"] = (c_out,)
        shapes[f"{name}.bn.bias"] = (c_out,)

    conv_bn("stem", desc["widths"][0], 3, 3)
    for block in blocks_of(desc):
        c_in = block.c_in
        for layer in block.layers:
            conv_bn(layer, block.c_out, c_in, 3)
            c_in = block.c_out
        if has_outer(desc) and changes_shape(block) and desc["projection"] != "pad":
            conv_bn(f"{block.name}.shortcut", block.c_out, block.c_in, 3 if desc["projection"] == "3x3" else 1)
    if desc["head"] == "conv":
        conv_bn("head", desc["classes"], desc["widths"][2], 1)
    else:
        shapes["head.linear.weight"] = (desc["classes"], desc["widths"][2])
        shapes["head.linear.bias"] = (desc["classes"],)
    return shapes


def parameter_count(desc):
    return sum(math.prod(shape) for shape in parameter_shapes(desc).values())


def residual_inputs(desc, c_in):
    """How many of a layer's input channels are the residual stream; the product is taken in f64."""
    return math.floor(c_in * desc["residual_share"])


def identity_channels(desc, c_out, c_in):
    """How many ones E holds: E[i, i, 1, 1] for every i below."""
    return min(c_out, c_in, residual_inputs(desc, c_in))
