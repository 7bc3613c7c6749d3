"""Checks the reference of rir_model.py by itself: parameter counts, gradients by finite differences, identities.

    python check_model.py      # about a minute
"""

import sys

import jax
import numpy as np
from rir_model import (
    FAMILIES, GEOMETRIES, Layout, batch_norm, conv, describe, fast_variance, has_identity,
    layer_conv_four, loss, loss_and_gradients, parameter_count, random_batch, random_state,
    relative_error, worst,
)


class Checks:
    """Prints one line a check and remembers whether any failed."""

    failed = 0

    def that(self, ok, text):
        self.failed += not ok
        print(("ok    " if ok else "FAIL  ") + text)

    def close(self, out, ref, limit, text):
        error = relative_error(out, ref)
        self.that(error <= limit, f"{text}: relative error {error:.1e}, limit {limit:.0e}")


def test_parameter_counts(checks):
    """Against the totals quoted for these models."""
    expected = {"3x3": (487_386, 10_300_532), "1x1": (466_906, 9_563_252), "none": (464_154, 9_469_940)}
    for family in FAMILIES:
        for projection in ("3x3", "1x1", "pad"):
            kind = projection if family in ("resnet", "rir") and projection != "pad" else "none"
            for geometry, total in zip(GEOMETRIES, expected[kind]):
                count = parameter_count(describe(f"{family}-{geometry}", projection=projection))
                checks.that(count == total, f"{family}-{geometry}, projection {projection}: {count:,} parameters")
    count = parameter_count(describe("rir-18-wide", classes=100))
    checks.that(count == 10_335_272, f"rir-18-wide, 100 classes: {count:,} parameters")


TEST_CASES = {
    "rir 3x3 conv": dict(family="rir", blocks=[1, 2, 1]),
    "rir pad, 3 layers": dict(family="rir", projection="pad", layers_per_block=3),
    "rir 1x1 linear, share 1/4": dict(family="rir", projection="1x1", head="linear", residual_share=0.25),
    # Linear: the head's batch norm would cancel the last layer's shift, and its gradient would be rounding.
    "rir without outer relu": dict(family="rir", outer_relu=False, head="linear"),
    "resnet 3x3 linear": dict(family="resnet", head="linear"),
    "resnet-init odd widths": dict(family="resnet-init", widths=[5, 7, 9]),
    "cnn": dict(family="cnn"),
}


def test_gradients(checks, title, desc):
    """Finite differences of the loss, two entries of every parameter; then the same by other ways."""
    params, stats = random_state(desc, 1)
    images, labels = random_batch(desc, 2, 3, 7, 7)

    def run(**options):
        return jax.jit(lambda p: loss_and_gradients(desc, p, stats, images, labels, 0.1, **options))(params)

    (value, (logits, new_stats, _)), grads = run()
    scalar = jax.jit(lambda p: loss(desc, p, stats, images, labels, True, 0.1)[0])
    rng, step, analytic, numeric = np.random.default_rng(3), 1e-5, [], []
    for name, w in params.items():
        for i in rng.integers(0, w.size, 2):
            delta = np.zeros(w.size)
            delta[i] = step
            delta = delta.reshape(w.shape)
            up, down = scalar({**params, name: w + delta}), scalar({**params, name: w - delta})
            numeric.append(float(up - down) / (2 * step))
            analytic.append(float(grads[name].reshape(-1)[i]))
    checks.close(analytic, numeric, 1e-7, f"{title}: {len(numeric)} derivatives, finite differences")

    others = {}
    if has_identity(desc):
        others["four convolutions"] = dict(layer_conv=layer_conv_four)
    if max(desc["blocks"]) > 1:
        others["NCHW, fast variance"] = dict(layout=Layout("NCHW", "OIHW"), variance=fast_variance)
    for other, options in others.items():
        (value_2, (logits_2, stats_2, _)), grads_2 = run(**options)
        checks.close(value_2, value, 1e-13, f"{title}: {other}, loss")
        checks.close(logits_2, logits, 1e-12, f"{title}: {other}, logits")
        for what, a, b in (("statistics", stats_2, new_stats), ("gradients", grads_2, grads)):
            name = worst({name: relative_error(a[name], b[name]) for name in b})
            checks.close(a[name], b[name], 1e-11, f"{title}: {other}, {what} ({name})")


def test_convolution(checks):
    """Convolution and batch norm against loops and sums written out in numpy."""
    rng = np.random.default_rng(4)
    plain = Layout("NCHW", "OIHW")
    for size, stride, kernel in ((6, 1, 3), (6, 2, 3), (7, 2, 3), (7, 2, 1), (6, 2, 1)):
        x, w = rng.standard_normal((2, 3, size, size)), rng.standard_normal((4, 3, kernel, kernel))
        padded = np.pad(x, [(0, 0), (0, 0)] + [(kernel // 2,) * 2] * 2)
        out = -(-size // stride)
        ref = np.zeros((2, 4, out, out))
        for i in range(out):
            for j in range(out):
                patch = padded[:, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
                ref[:, :, i, j] = np.einsum("nchw,ochw->no", patch, w)
        title = f"{kernel}x{kernel} convolution, size {size}, stride {stride}"
        checks.close(conv(x, w, stride, plain), ref, 1e-14, title)
    x, gamma, beta = rng.standard_normal((4, 3, 5, 5)) + 2, rng.standard_normal(3), rng.standard_normal(3)
    stats = {"bn.running_mean": np.full(3, 0.5), "bn.running_var": np.full(3, 2.0)}
    new = {}
    y = batch_norm(x, "bn", {"bn.weight": gamma, "bn.bias": beta}, stats, new, True, plain)
    for c in range(3):
        values = x[:, c].ravel()
        ref = (x[:, c] - values.mean()) / np.sqrt(values.var() + 1e-5) * gamma[c] + beta[c]
        checks.close(y[:, c], ref, 1e-14, f"batch norm, channel {c}")
        checks.close(new["bn.running_mean"][c], 0.45 + 0.1 * values.mean(), 1e-14, f"running mean, channel {c}")
        checks.close(new["bn.running_var"][c], 1.8 + 0.1 * values.var(ddof=1), 1e-14, f"running variance, channel {c}")


def self_test():
    jax.config.update("jax_enable_x64", True)
    checks = Checks()
    test_parameter_counts(checks)
    test_convolution(checks)
    base = dict(family="rir", widths=[4, 6, 8], blocks=[1, 1, 1], layers_per_block=2, projection="3x3")
    base |= dict(head="conv", residual_share=0.5, outer_relu=True, classes=5)
    for title, changes in TEST_CASES.items():
        test_gradients(checks, title, {**base, **changes})
    print(f"{checks.failed} checks failed" if checks.failed else "all checks passed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(self_test())
