"""Holds a trace (`rir trace`) to the same tensors by another program, name by name."""

import sys

import numpy as np

LIMIT = 1e-8


def relative_error(out, ref):
    """The norm of the difference over the norm of the reference; NaN stays NaN and so fails `<=`."""
    out, ref = np.asarray(out, np.float64), np.asarray(ref, np.float64)
    scale = np.linalg.norm(ref)
    return float(np.linalg.norm(out - ref) / (scale if scale > 0 else 1))


def worst(errors):
    """The name of the largest error, a NaN before any number; names -> errors."""
    return max(errors, key=lambda name: (np.isnan(errors[name]), errors[name]))


def as_image_layout(ours, ref, layout, name):
    """Our activation as N C H W."""
    if layout == "NCHW":
        return ours
    n, c, h, w = ref.shape
    fits = [this for this, shape in (("NCHW", (n, c, h, w)), ("NHWC", (n, h, w, c))) if ours.shape == shape]
    if layout == "auto" and len(fits) == 2:
        sys.exit(f"{name} of shape {ours.shape} could be NHWC or NCHW: say --activation-layout")
    return ours.transpose(0, 3, 1, 2) if layout == "NHWC" or fits == ["NHWC"] else ours


def compare(ref, trace, path, activation_layout="auto"):
    """Prints the largest relative error of each group of tensors; returns whether all are within LIMIT.

    ref, trace          name -> array: `logits`, `loss`, `activation.<layer>`, `grad.<parameter>`; the same names
    path                the trace's file, for messages
    activation_layout   of the trace's activations; those of ref are N C H W
    """
    ok, groups = True, {}
    for name in sorted(set(ref) - set(trace)):
        ok = False
        print(f"FAIL  {path} lacks {name}")
    for name in sorted(set(trace) - set(ref)):
        ok = False
        print(f"FAIL  {path} holds {name}, which the model does not have")
    for name, expected in ref.items():
        if name not in trace:
            continue
        ours = trace[name]
        if name.startswith("activation."):
            ours = as_image_layout(ours, expected, activation_layout, name)
        if ours.size != expected.size or ours.squeeze().shape != expected.squeeze().shape:
            ok = False
            print(f"FAIL  {name} has shape {ours.shape}, but should have {expected.shape}")
            continue
        error = relative_error(ours.reshape(expected.shape), expected)
        groups.setdefault(name.split(".")[0], {})[name] = error
    for group, errors in groups.items():
        name = worst(errors)
        fine = errors[name] <= LIMIT
        ok &= fine
        mark = "ok  " if fine else "FAIL"
        print(f"{mark}  {group}: largest relative error {errors[name]:.1e} ({name}), limit {LIMIT:.0e}")
    return ok
