"""Holds torch_model.py and torch_step.py to the golden files of tests/goldens, which JAX made, in f64 to 1e-8.

    python check_torch.py      # logits, loss, activations, gradients, running statistics, ten steps; seconds
"""

import glob
import json
import os
import sys

import numpy as np
import torch

import tensors
from compare_trace import LIMIT, relative_error, worst
from description import describe, has_identity
from torch_step import Training

GOLDENS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/goldens/*.safetensors")


def under(arrays, prefix):
    """The arrays below a prefix, by what follows it."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def results(golden, desc, run, four):
    """name -> array: what the golden file holds under `train.` and `steps.`, by PyTorch."""
    training = Training(desc, "cpu", torch.float64, torch.float64, four, run["label_smoothing"])
    state = {name: torch.tensor(a) for name, a in under(golden, "state.").items()}
    batch = torch.tensor(golden["images"]), torch.tensor(golden["labels"]).long()

    training.load(dict(state))
    training.network.activations = kept = {}
    out = {"train.logits": training.network(batch[0])}
    out |= {f"train.activation.{name}": a for name, a in kept.items()}
    training.network.activations = None
    training.load(dict(state))  # the forward pass above moved the running statistics
    out["train.loss"], grads = training.gradients(*batch)
    out |= {f"train.grad.{name}": g for name, g in training.joined(grads).items()}
    out |= {f"train.running.{name}": b.clone() for name, b in training.network.named_buffers()}

    if "steps" in run:
        training.load(dict(state))
        rates = run["learning_rate"], run["momentum"], run["weight_decay"]
        losses = []
        for images, labels in zip(golden["steps.images"], golden["steps.labels"]):
            losses.append(training.step(torch.tensor(images), torch.tensor(labels).long(), *rates))
        masters = training.joined({name: training.master(name) for name in training.leaves})
        out |= {f"steps.final.{name}": a for name, a in (masters | dict(training.network.named_buffers())).items()}
        out["steps.loss"] = torch.stack(losses)
    return {name: a.detach().numpy() for name, a in out.items()}


def main():
    failed = 0
    for path in sorted(glob.glob(GOLDENS)):
        case = os.path.basename(path).removesuffix(".safetensors")
        golden = tensors.as_numpy(tensors.load(path))
        both = json.loads(tensors.metadata(path)["description"])
        desc = {key: both.pop(key) for key in describe("rir-32")}
        expected = {n: a for n, a in golden.items() if n.startswith(("train.", "steps."))}
        expected = {n: a for n, a in expected.items() if n not in ("steps.images", "steps.labels")}
        for four in (False, True)[: 1 + has_identity(desc)]:
            out = results(golden, desc, both, four)
            if set(out) != set(expected):
                sys.exit(f"{case}: not in both: {', '.join(sorted(set(out) ^ set(expected)))}")
            errors = {name: relative_error(out[name].reshape(np.shape(a)), a) for name, a in expected.items()}
            name = worst(errors)
            fine = errors[name] <= LIMIT
            failed += not fine
            form = "four convolutions" if four else "one convolution"
            print(f"{'ok  ' if fine else 'FAIL'}  {case}, {form}: {errors[name]:.1e} ({name}), limit {LIMIT:.0e}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
