"""ResNet in ResNet (arXiv 1603.08029) and its three siblings in plain JAX: the independent reference.

Nothing here is shared with the engine, and nothing is clever: it is meant to be read beside the paper.
`tests/goldens/make_goldens.py` makes golden files from it; `jax_rir.py` times it as a peer.

    pip install jax==0.10.2 numpy==2.4.6 safetensors==0.8.0
    python check_model.py                # parameter counts, gradients, identities; about a minute

A model is a dict: see description.py.

Parameters and running statistics are flat dicts keyed by checkpoint name, in checkpoint order. Convolution
weights are stored O I H W, without the identity E. Images and the returned activations are N C H W; inside,
activations are N H W C by default.

Details that decide equality to the last bits:
- 3x3 convolutions pad one zero pixel on each side, also at stride 2: size n becomes ceil(n / 2).
- Batch norm: epsilon 1e-5 inside the root; normalises with the biased batch variance; the running variance
  takes the unbiased one (n / (n - 1), n = N * H * W); running = 0.9 running + 0.1 batch.
- E[i, i, 1, 1] = 1 for i < min(C_out, C_in, floor(C_in * residual_share)), on every 3x3 layer of a group;
  never on the stem, a projection or the head.
- A `pad` shortcut takes every second pixel, starting with the first, and appends zero channels at the end.
- Weight decay acts on convolution and linear weights (toward 0; so W, not W + E) and on batch norm scales
  (toward 1); not on shifts and biases.
"""

from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np

from compare_trace import relative_error, worst  # noqa: F401, for those who import this module
from description import (  # noqa: F401, some for those who import this module
    EPSILON, FAMILIES, GEOMETRIES, MODELS, RUNNING_MOMENTUM, blocks_of, changes_shape, check_description, describe,
    has_identity, has_outer, identity_channels, parameter_count, parameter_shapes, residual_inputs,
)


# ----------------------------------------------------------------------------------------------------- state


def init_params(desc, seed, dtype=np.float32):
    """He normal (fan in) weights, batch norm scale 1 and shift 0, bias 0."""
    rng = np.random.default_rng(seed)
    params = {}
    for name, shape in parameter_shapes(desc).items():
        if len(shape) > 1:
            params[name] = (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(dtype)
        else:
            params[name] = np.full(shape, 1 if name.endswith(".bn.weight") else 0, dtype)
    return params


def init_stats(desc, dtype=np.float32):
    """Running statistics of every batch norm: mean 0, variance 1."""
    stats = {}
    for name, shape in parameter_shapes(desc).items():
        if name.endswith(".bn.weight"):
            bn = name.removesuffix(".weight")
            stats[f"{bn}.running_mean"] = np.zeros(shape, dtype)
            stats[f"{bn}.running_var"] = np.ones(shape, dtype)
    return stats


# ---------------------------------------------------------------------------------------------------- layers

# How arrays lie in memory. Neither changes a result; both change the speed.
Layout = namedtuple("Layout", "image kernel")
DEFAULT_LAYOUT = Layout(image="NHWC", kernel="OIHW")


def transpose(array, source, target):
    return array if source == target else array.transpose([source.index(axis) for axis in target])


def change_kernels(arrays, source, target):
    """Transposes every convolution weight of a flat dict, as from O I H W to H W I O."""
    return {name: transpose(a, source, target) if name.endswith(".conv.weight") else a for name, a in arrays.items()}


def kernel_dim(w, axis, layout):
    return w.shape[layout.kernel.index(axis)]


def conv(x, w, stride, layout):
    """Convolution without bias, in x's type: 3x3 with one pixel of zeros on each side, 1x1 with none."""
    pad = kernel_dim(w, "H", layout) // 2
    return jax.lax.conv_general_dilated(
        x, w.astype(x.dtype), (stride, stride), [(pad, pad), (pad, pad)],
        dimension_numbers=(layout.image, layout.kernel, layout.image),
    )


def identity_kernel(desc, c_out, c_in, layout, dtype):
    """The constant E that ResNet Init adds to a layer's W."""
    e = np.zeros((c_out, c_in, 3, 3), dtype)
    for i in range(identity_channels(desc, c_out, c_in)):
        e[i, i, 1, 1] = 1
    return transpose(e, "OIHW", layout.kernel)


def layer_conv(desc, x, w, stride, layout):
    """A layer's convolution, before batch norm: with W, or with W + E."""
    if has_identity(desc):
        w = w + identity_kernel(desc, kernel_dim(w, "O", layout), kernel_dim(w, "I", layout), layout, w.dtype)
    return conv(x, w, stride, layout)


def layer_conv_four(desc, x, w, stride, layout):
    """The same as the paper draws it: two streams, four convolutions, and the shortcut of r."""
    if not has_identity(desc):
        return conv(x, w, stride, layout)
    w = transpose(w, layout.kernel, "OIHW")
    x = transpose(x, layout.image, "NCHW")
    plain = Layout("NCHW", "OIHW")
    h_in = residual_inputs(desc, w.shape[1])
    h_out = residual_inputs(desc, w.shape[0])
    assert h_out >= h_in, "the four-convolution form needs at least as many residual outputs as inputs"
    r, t = x[:, :h_in], x[:, h_in:]
    w_rr, w_tr, w_rt, w_tt = w[:h_out, :h_in], w[:h_out, h_in:], w[h_out:, :h_in], w[h_out:, h_in:]
    shortcut = pad_shortcut(r, h_out, stride, plain)
    r_next = conv(r, w_rr, stride, plain) + conv(t, w_tr, stride, plain) + shortcut
    t_next = conv(r, w_rt, stride, plain) + conv(t, w_tt, stride, plain)
    return transpose(jnp.concatenate([r_next, t_next], axis=1), "NCHW", layout.image)


def pad_shortcut(x, c_out, stride, layout):
    """The identity, subsampled, with zero channels appended."""
    cut, pad = [slice(None)] * 4, [(0, 0)] * 4
    cut[layout.image.index("H")] = cut[layout.image.index("W")] = slice(None, None, stride)
    channels = layout.image.index("C")
    pad[channels] = (0, c_out - x.shape[channels])
    return jnp.pad(x[tuple(cut)], pad)


def variance(x, mean, axes):
    """Of all values a channel has, `mean` known: two passes, exact."""
    return jnp.mean(jnp.square(x - jnp.expand_dims(mean, axes)), axes)


def fast_variance(x, mean, axes):
    """The same in one pass, as JAX libraries do by default; loses digits where the mean is large."""
    return jnp.mean(jnp.square(x), axes) - jnp.square(mean)


def batch_norm(x, name, params, stats, new_stats, train, layout, variance=variance):
    """Normalises each channel; in training with the batch's statistics, which also update `new_stats`.

    Arithmetic is in the type of the statistics, the result in that of x: bf16 between f32 or wider.
    """
    stored, x = x.dtype, x.astype(stats[f"{name}.running_mean"].dtype)
    axes = tuple(layout.image.index(axis) for axis in "NHW")
    shape = [1] * 4
    shape[layout.image.index("C")] = -1
    running_mean, running_var = stats[f"{name}.running_mean"], stats[f"{name}.running_var"]
    if train:
        n = x.size // running_mean.size
        mean = jnp.mean(x, axes)
        var = variance(x, mean, axes)
        keep = RUNNING_MOMENTUM
        new_stats[f"{name}.running_mean"] = keep * running_mean + (1 - keep) * mean
        new_stats[f"{name}.running_var"] = keep * running_var + (1 - keep) * (var * (n / (n - 1)))
    else:
        mean, var = running_mean, running_var
    scale = params[f"{name}.weight"] / jnp.sqrt(var + EPSILON)
    y = (x - mean.reshape(shape)) * scale.reshape(shape) + params[f"{name}.bias"].reshape(shape)
    return y.astype(stored)


# ----------------------------------------------------------------------------------------------------- model


def forward(desc, params, stats, images, train, layout=DEFAULT_LAYOUT, layer_conv=layer_conv, variance=variance):
    """images [N, 3, H, W] -> logits [N, classes], updated running statistics, activations by layer [N, C, H, W].

    An activation is what the next layer reads: after batch norm and ReLU, and for the last layer of a block after
    the outer shortcut. `head` is the logits. Outside training the statistics come back unchanged. The type of the
    images is that of every activation: bf16 images train in bf16 where parameters and statistics are f32.
    """
    check_description(desc)
    new_stats = dict(stats)
    activations = {}

    def bn(z, name):
        return batch_norm(z, f"{name}.bn", params, stats, new_stats, train, layout, variance)

    def keep(name, x):
        activations[name] = transpose(x, layout.image, "NCHW")
        return x

    x = transpose(images, "NCHW", layout.image)
    x = keep("stem", jax.nn.relu(bn(conv(x, params["stem.conv.weight"], 1, layout), "stem")))

    for block in blocks_of(desc):
        outer, stride = None, block.stride
        if has_outer(desc):
            outer = x
            if changes_shape(block) and desc["projection"] == "pad":
                outer = pad_shortcut(x, block.c_out, stride, layout)
            elif changes_shape(block):
                shortcut = f"{block.name}.shortcut"
                outer = bn(conv(x, params[f"{shortcut}.conv.weight"], stride, layout), shortcut)
        for layer in block.layers:
            z = bn(layer_conv(desc, x, params[f"{layer}.conv.weight"], stride, layout), layer)
            closes = outer is not None and layer == block.layers[-1]
            if closes:
                z = z + outer
            x = keep(layer, z if closes and not desc["outer_relu"] else jax.nn.relu(z))
            stride = 1

    pixels = (layout.image.index("H"), layout.image.index("W"))
    if desc["head"] == "conv":
        z = bn(conv(x, params["head.conv.weight"], 1, layout), "head")
        logits = jnp.mean(z.astype(stats["head.bn.running_mean"].dtype), pixels)
    else:
        weight, bias = params["head.linear.weight"], params["head.linear.bias"]
        logits = jnp.mean(x.astype(bias.dtype), pixels) @ weight.T + bias
    activations["head"] = logits
    return logits, new_stats, activations


def cross_entropy(logits, labels, label_smoothing=0.0):
    """Mean softmax cross entropy; the target is (1 - smoothing) * one-hot + smoothing / classes."""
    classes = logits.shape[-1]
    target = jax.nn.one_hot(labels, classes, dtype=logits.dtype) * (1 - label_smoothing) + label_smoothing / classes
    return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), axis=-1))


def loss(desc, params, stats, images, labels, train, label_smoothing=0.0, **options):
    """The loss (without the L2 term), and as auxiliary results logits, statistics and activations."""
    logits, new_stats, activations = forward(desc, params, stats, images, train, **options)
    return cross_entropy(logits, labels, label_smoothing), (logits, new_stats, activations)


def loss_and_gradients(desc, params, stats, images, labels, label_smoothing=0.0, **options):
    """((loss, (logits, statistics, activations)), gradients) of one training batch."""

    def of(p):
        return loss(desc, p, stats, images, labels, True, label_smoothing, **options)

    return jax.value_and_grad(of, has_aux=True)(params)


def sgd_step(params, velocity, grads, learning_rate, momentum=0.9, weight_decay=2e-4):
    """The paper's update, momentum not Nesterov: v = momentum v + g; w = w - learning_rate v."""
    new_params, new_velocity = {}, {}
    for name, w in params.items():
        g = grads[name]
        if name.endswith(".bn.weight"):
            g = g + weight_decay * (w - 1)
        elif name.endswith(".weight"):
            g = g + weight_decay * w
        new_velocity[name] = momentum * velocity[name] + g
        new_params[name] = w - learning_rate * new_velocity[name]
    return new_params, new_velocity


# ------------------------------------------------------------------------------------------------ for checks


def random_state(desc, seed):
    """For tests: f64 parameters and running statistics, none trivial: scale around 1, shift and mean around 0."""
    rng = np.random.default_rng(seed)
    params, stats = init_params(desc, seed, np.float64), init_stats(desc, np.float64)
    for name, a in params.items():
        if a.ndim == 1:
            params[name] = a + 0.2 * rng.standard_normal(a.shape)
    for name, a in stats.items():
        stats[name] = a + (0.2 * rng.standard_normal(a.shape) if "mean" in name else rng.uniform(-0.4, 0.8, a.shape))
    return params, stats


def random_batch(desc, seed, batch, height, width):
    """For tests: f64 images of differing contrast, and labels."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((batch, 3, height, width)) * rng.uniform(0.5, 1.5, (batch, 1, 1, 1))
    return images, rng.integers(0, desc["classes"], batch).astype(np.int32)
