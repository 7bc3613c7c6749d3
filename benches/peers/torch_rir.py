"""Times PyTorch training ResNet in ResNet, on a card or, for a rehearsal, on the processor; and checks its numbers.

    torch_rir.py --model rir-18-wide --batch 500 --forms eager,graphs,compiled,compiled-graphs --json torch.json
        One training step (forward, backward, SGD as the recipe `paper` has it) on one random batch that lies on the
        card, in every form. Prints median and spread in ms, images/s and the peak memory.

    torch_rir.py --layers --model rir-18-wide --batch 500 --json layers.json
        Every distinct convolution of the model by itself: forward, data gradient, weight gradient; the cache warm, and
        flushed before each call.

    torch_rir.py --model rir-32 --check TRACE --checkpoint CHECKPOINT --input BATCH
        Recomputes in f64 a trace that `rir trace --train` wrote: exits with 1 where a relative error exceeds 1e-8 or a
        name is missing on either side. In both forms of generalized layers.

Needs PyTorch 2.6 or newer, and numpy for --check. Activations and weights are bf16 with channels last; master weights,
batch norm, statistics, logits and the loss f32 (torch_step.py). cuDNN chooses its algorithms by timing them. Forms:

    eager             operation by operation
    graphs            the whole step captured as one CUDA graph
    compiled          forward and backward by torch.compile(mode="max-autotune")
    compiled-graphs   forward and backward by torch.compile, and the whole step captured as one CUDA graph
    four-eager, four-graphs, four-compiled      with four convolutions a generalized layer, as the paper draws it
"""

import argparse
import gc
import json
import resource
import statistics
import sys
import time

import card
import record
from description import describe, check_description, has_identity, parameter_count

STARTED = time.monotonic()
FORMS = ("eager", "graphs", "compiled", "compiled-graphs", "four-eager", "four-graphs", "four-compiled")
TYPES = {"f32": "float32", "bf16": "bfloat16"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def listed(kind):
        return lambda text: [kind(part) for part in text.split(",")]

    parser.add_argument("--model", default="rir-18-wide", help="a named model")
    parser.add_argument("--description", help="the model as JSON (see description.py), instead of --model")
    parser.add_argument("--classes", type=int, default=10, help="of a named model")
    parser.add_argument("--label-smoothing", type=float, default=0.0)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--precision", default="bf16", choices=TYPES)
    parser.add_argument("--batch", type=listed(int), default=[500], help="one or several, such as 128,500")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--forms", type=listed(str), default=list(FORMS), help="one or several; default: all")
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a form")
    parser.add_argument("--warmup", type=int, default=5, help="steps before them")
    parser.add_argument("--repeats", type=int, default=20, help="timed repetitions of a layer")
    parser.add_argument("--layers", action="store_true", help="time the convolutions, not the step")
    parser.add_argument("--only", default="", metavar="TEXT", help="of --layers, those whose name/pass holds this")
    parser.add_argument("--time-limit", type=float, default=float("inf"), metavar="SECONDS", help="begin nothing after")
    parser.add_argument("--json", help="write the result to this file")
    parser.add_argument("--check", metavar="TRACE", help="compare this trace with PyTorch in f64")
    parser.add_argument("--checkpoint")
    parser.add_argument("--input", metavar="BATCH")
    args = parser.parse_args()
    if args.check and not (args.checkpoint and args.input):
        parser.error("--check needs --checkpoint and --input")
    unknown = [form for form in args.forms if form not in FORMS]
    if unknown:
        parser.error(f"no form {unknown[0]!r}; the forms are {', '.join(FORMS)}")
    if min(args.batch + [args.steps, args.repeats, args.image_size]) < 1:
        parser.error("--batch, --steps, --repeats and --image-size must be at least 1")
    try:
        args.desc = json.loads(args.description) if args.description else describe(args.model, args.classes)
        check_description(args.desc)
    except ValueError as error:
        parser.error(str(error))
    return args


def is_time_up(args):
    return time.monotonic() - STARTED > args.time_limit


# -------------------------------------------------------------------------------------------------------- step


def milliseconds(step, count, device):
    """Times of `count` steps: on a card between events in the stream, so that what the processor prepares is hidden."""
    import torch

    if device == "cpu":
        times = []
        for _ in range(count):
            start = time.perf_counter()
            step()
            times.append(1000 * (time.perf_counter() - start))
        return times
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) for before, after in zip(events, events[1:])]


def warm_up(step, device):
    """Steps for a second, so that a card has raised its clocks; the processor's are up already."""
    import torch

    start = time.perf_counter()
    while device == "cuda" and time.perf_counter() - start < 1.0:
        step()
        torch.cuda.synchronize()


def time_form(args, form, batch):
    """One row: a form of the step at a batch."""
    import torch

    import torch_step

    narrow = getattr(torch, TYPES[args.precision])
    generator = torch.Generator(args.device).manual_seed(0)
    four = torch_step.FORMS[form][0]
    training = torch_step.Training(args.desc, args.device, narrow, torch.float32, four, args.label_smoothing)
    training.initialise(generator)
    size = (batch, 3, args.image_size, args.image_size)
    images = torch.randn(size, generator=generator, device=args.device).to(narrow)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(args.desc["classes"], (batch,), generator=generator, device=args.device)
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()

    start = time.perf_counter()
    step = torch_step.runner(training, form, images, labels)
    losses = [float(step()) for _ in range(args.warmup)]
    compile_seconds = time.perf_counter() - start
    warm_up(step, args.device)
    before = card.state()
    times = milliseconds(step, args.steps, args.device)
    after = card.state()
    losses.append(float(step()))
    if not all(loss == loss and loss < 1e3 for loss in losses):
        raise RuntimeError(f"the loss went {losses}: the numbers are wrong, and so is the time")
    if args.device == "cuda":
        memory = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        peak = dict(zip(("peak_memory_bytes", "reserved_bytes"), memory))
    else:
        peak = {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    median = statistics.median(times)
    return {
        "form": form, "batch": batch, "step_ms": median, "step_ms_min": min(times), "step_ms_max": max(times),
        "steps": len(times), "images_per_second": 1000 * batch / median,
        "images_per_second_min": 1000 * batch / max(times), "images_per_second_max": 1000 * batch / min(times),
        **peak, "losses": losses, "compile_seconds": compile_seconds, "card_before": before, "card_after": after,
    }


def reason_against(args, form):
    """Why a form cannot be timed here, or nothing."""
    if args.device == "cpu" and "graphs" in form:
        return "CUDA graphs need a card"
    if form.startswith("four") and not has_identity(args.desc):
        return "the model has no generalized layers"
    return "no time was left" if is_time_up(args) else None


def time_steps(args, result):
    """Fills result's rows; what fails is named and does not end the rest."""
    import torch

    for batch in args.batch:
        for form in args.forms:
            reason = reason_against(args, form)
            if reason:
                result["not_run"].append(f"{form} at batch {batch}: {reason}")
                continue
            try:
                row = time_form(args, form, batch)
            except Exception as error:  # a compiler's failure or memory that ran out, of whatever type
                text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
                result["failed"].append(f"{form} at batch {batch}: {text}")
                print(f"FAIL  {result['failed'][-1]}", flush=True)
            else:
                result["rows"].append(row)
                print(
                    f"{form}, batch {batch}: {row['step_ms']:.3f} ms ({row['step_ms_min']:.3f} to "
                    f"{row['step_ms_max']:.3f}), {row['images_per_second']:.0f} images/s, peak "
                    f"{row['peak_memory_bytes'] / 2**20:.0f} MiB",
                    flush=True,
                )
            torch.compiler.reset()
            gc.collect()
            if args.device == "cuda":
                torch.cuda.empty_cache()
            record.write(args.json, result)


# ------------------------------------------------------------------------------------------------------ layers


def time_convolutions(args, result):
    import torch

    from torch_layers import time_layers

    dtype = getattr(torch, TYPES[args.precision])
    for batch in args.batch:
        result["card_before"] = card.state()
        rows, not_run = time_layers(
            args.desc, args.image_size, batch, args.device, dtype, args.repeats, args.only, lambda: is_time_up(args)
        )
        result["card_after"] = card.state()
        result["rows"] += rows
        result["not_run"] += not_run
        for row in rows:
            flushed = f", flushed {row['flushed_median_us']:.1f}" if "flushed_median_us" in row else ""
            name = f"{row['name']}/{row['pass']}"
            rate = f"{row['tflop_s']:.2f} TFLOP/s"
            print(f"{name}, batch {batch}: {row['median_us']:.1f} us{flushed}, {rate}", flush=True)
        record.write(args.json, result)


# ------------------------------------------------------------------------------------------------------- check


def check(args):
    """Whether the trace is this model's, with one convolution a layer and, where there are generalized ones, four."""
    import torch

    import tensors
    from compare_trace import compare
    from torch_step import Training

    trace, batch = (tensors.as_numpy(tensors.load(path)) for path in (args.check, args.input))
    state = {
        name: torch.tensor(a, dtype=torch.float64)
        for name, a in tensors.as_numpy(tensors.load(args.checkpoint)).items()
        if not name.startswith(("optimizer.", "preprocess."))
    }
    images, labels = torch.tensor(batch["images"], dtype=torch.float64), torch.tensor(batch["labels"]).long()
    ok = True
    for four in (False, True)[: 1 + has_identity(args.desc)]:
        training = Training(args.desc, "cpu", torch.float64, torch.float64, four, args.label_smoothing)
        training.load(dict(state))
        training.network.activations = kept = {}
        ref = {"logits": training.network(images)} | {f"activation.{name}": a for name, a in kept.items()}
        training.network.activations = None
        ref["loss"], grads = training.gradients(images, labels)
        ref |= {f"grad.{name}": g for name, g in training.joined(grads).items()}
        print("four convolutions a layer" if four else "one convolution a layer")
        ok &= compare({name: a.detach().numpy() for name, a in ref.items()}, trace, args.check, "NCHW")
    return ok


# -------------------------------------------------------------------------------------------------------- main


def heading(args):
    """What both kinds of timing record."""
    return {
        **record.heading("torch_rir.py", args.device), "model": args.desc, "parameters": parameter_count(args.desc),
        "precision": args.precision, "image_size": args.image_size, "layout": "channels_last", "rows": [],
        "not_run": [], "failed": [],
    }


def main():
    args = arguments()
    try:
        import torch
    except ImportError as error:
        sys.exit(f"torch_rir.py: this Python has no PyTorch ({error}); install it with: pip install torch")
    if args.check:
        return 0 if check(args) else 1
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch_rir.py: PyTorch sees no card; --device cpu rehearses without one")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    result = heading(args)
    (time_convolutions if args.layers else time_steps)(args, result)
    record.write(args.json, result)
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
