"""Makes the golden files beside it, from the JAX reference in benches/peers/rir_model.py, all in f64.

    pip install jax==0.10.2 numpy==2.4.6 safetensors==0.8.0
    python tests/goldens/make_goldens.py            # writes tests/goldens/<case>.safetensors, about two minutes
    python tests/goldens/make_goldens.py CASE...    # only these

The same versions on the same kind of machine give the same bytes; elsewhere the last bits may differ.

A file's metadata: `description`, a JSON dict: the model as rir_model.py describes it, and batch, height, width,
label_smoothing; for a case that trains, also steps, learning_rate, momentum, weight_decay. `made_by`: this script
and the versions. Its tensors, f64 unless said otherwise:

    state.<name>                parameters and running statistics before anything, by checkpoint name; O I H W
    images, labels              [N, 3, H, W]; int32 [N]
    train.logits, train.loss    with batch statistics; [N, classes] and [] (no L2 term in the loss)
    train.activation.<layer>    [N, C, H, W]: stem, group1.block1.layer1, ..., what the next layer reads
    train.grad.<parameter>      gradient of train.loss (no weight decay)
    train.running.<name>        running statistics after that one forward pass
    eval.logits, eval.loss, eval.activation.<layer>      with the running statistics in `state`
    steps.images, steps.labels  [10, N, 3, H, W]; int32 [10, N]: a fresh batch for each of ten training steps,
                                which start from `state` and a velocity of zero
    steps.loss                  [10]: the loss of each step, before its update
    steps.final.<name>          parameters and running statistics after the ten steps

Before a file is written its case is run again from a state changed by one part in 10^15. Where that moves any
result by more than 10^-11 the case is too fragile to be held to 10^-8 (a ReLU on the verge, a gradient that is
zero but for rounding), and the script stops.
"""

import json
import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../benches/peers"))

import jax  # noqa: E402
import numpy as np  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

import rir_model  # noqa: E402

jax.config.update("jax_enable_x64", True)

STEPS = dict(steps=10, learning_rate=0.1, momentum=0.9, weight_decay=2e-4)

BASE = dict(blocks=[1, 1, 1], layers_per_block=2, projection="3x3", head="conv", residual_share=0.5)
BASE |= dict(classes=5, outer_relu=True, batch=4, height=9, width=9, label_smoothing=0.0)

# Together: every family, projection and head; even, odd and oblong sizes; widths that are no multiple of anything.
CASES = {
    "rir": dict(family="rir", widths=[8, 12, 16], blocks=[2, 1, 1], batch=6, height=12, width=12, **STEPS),
    "rir-odd-size": dict(family="rir", widths=[6, 8, 14], head="linear", batch=5, label_smoothing=0.1),
    "rir-pad-3-layers": dict(
        family="rir", widths=[6, 10, 12], layers_per_block=3, projection="pad", height=10, width=10
    ),
    "rir-quarter-share": dict(family="rir", widths=[8, 12, 16], projection="1x1", residual_share=0.25),
    "rir-no-outer-relu": dict(family="rir", widths=[4, 6, 8], head="linear", outer_relu=False),
    "resnet-1x1": dict(family="resnet", widths=[6, 10, 12], blocks=[1, 2, 1], projection="1x1", height=8, width=8),
    "resnet-init-odd-widths": dict(family="resnet-init", widths=[7, 10, 13], head="linear"),
    "cnn-oblong": dict(family="cnn", widths=[5, 6, 9], height=7, width=10, label_smoothing=0.1),
}


def split(case):
    """The model's description, and the rest: how the case runs it."""
    full = {**BASE, **case}
    keys = rir_model.describe("rir-32")
    return {k: full[k] for k in keys}, {k: v for k, v in full.items() if k not in keys}


def named(prefix, arrays):
    return {f"{prefix}.{name}": a for name, a in arrays.items()}


def compute(desc, run, inputs, params, stats):
    """Every result of a case."""
    smoothing = run["label_smoothing"]
    images, labels = inputs["images"], inputs["labels"]

    @jax.jit
    def train(params, stats, images, labels):
        return rir_model.loss_and_gradients(desc, params, stats, images, labels, smoothing)

    def layers(activations):
        return {name: a for name, a in activations.items() if name != "head"}  # `head` is the logits

    (loss, (logits, running, activations)), grads = train(params, stats, images, labels)
    out = {"train.logits": logits, "train.loss": loss}
    out |= named("train.activation", layers(activations)) | named("train.grad", grads) | named("train.running", running)
    evaluate = jax.jit(lambda p, s: rir_model.loss(desc, p, s, images, labels, False, smoothing))
    loss, (logits, _, activations) = evaluate(params, stats)
    out |= {"eval.logits": logits, "eval.loss": loss} | named("eval.activation", layers(activations))

    if "steps" in run:
        velocity = {name: np.zeros_like(a) for name, a in params.items()}
        losses = []
        for images, labels in zip(inputs["steps.images"], inputs["steps.labels"]):
            (loss, (_, stats, _)), grads = train(params, stats, images, labels)
            rates = (run["learning_rate"], run["momentum"], run["weight_decay"])
            params, velocity = rir_model.sgd_step(params, velocity, grads, *rates)
            losses.append(loss)
        out |= {"steps.loss": np.array(losses)} | named("steps.final", params) | named("steps.final", stats)
    return {name: np.asarray(a) for name, a in out.items()}


def make(case, seed):
    """A case's metadata and tensors."""
    desc, run = split(CASES[case])
    shape = (run["batch"], run["height"], run["width"])
    params, stats = rir_model.random_state(desc, seed)
    inputs = dict(zip(("images", "labels"), rir_model.random_batch(desc, seed + 1, *shape)))
    if "steps" in run:
        batches = [rir_model.random_batch(desc, seed + 2 + i, *shape) for i in range(run["steps"])]
        inputs["steps.images"], inputs["steps.labels"] = map(np.stack, zip(*batches))

    results = compute(desc, run, inputs, params, stats)
    rng = np.random.default_rng(seed)
    moved = {name: a * (1 + 1e-15 * rng.choice([-1, 1], a.shape)) for name, a in params.items()}
    again = compute(desc, run, inputs, moved, stats)
    fragile = {name: rir_model.relative_error(again[name], a) for name, a in results.items()}
    worst = rir_model.worst(fragile)
    if not fragile[worst] <= 1e-11:
        sys.exit(f"{case}: {worst} moves by {fragile[worst]:.1e} when the parameters move by 1e-15")

    versions = f"jax {jax.__version__}, numpy {np.__version__}"
    metadata = {"description": json.dumps({**desc, **run}), "made_by": f"tests/goldens/make_goldens.py, {versions}"}
    tensors = named("state", params | stats) | inputs | results
    return metadata, {name: np.asarray(a, order="C") for name, a in tensors.items()}, (worst, fragile[worst])


def main():
    unknown = set(sys.argv[1:]) - set(CASES)
    if unknown:
        sys.exit(f"no case {', '.join(sorted(unknown))}; the cases are {', '.join(CASES)}")
    for i, case in enumerate(CASES):
        if len(sys.argv) > 1 and case not in sys.argv[1:]:
            continue
        metadata, tensors, (worst, error) = make(case, seed=1000 * (i + 1))
        path = os.path.join(HERE, f"{case}.safetensors")
        save_file(tensors, path, metadata)
        size = os.path.getsize(path) / 1024
        print(f"{case}: {len(tensors)} tensors, {size:.0f} KiB; most sensitive {worst} {error:.0e}", flush=True)


if __name__ == "__main__":
    main()
