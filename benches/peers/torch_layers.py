"""Times PyTorch's convolutions of a network, which on a card are cuDNN's: forward, data gradient, weight gradient.

A row is one convolution as it stands in the network, by the name of the first layer that has it; equal convolutions
are timed once and named in `same_as`. Each is timed by itself, without identity, statistics or anything fused.
"""

import statistics
import time

import torch
import torch.nn.functional as F

from description import blocks_of, changes_shape, has_outer

PASSES = ("forward", "data_grad", "weight_grad")
# Calls between two events: so many that a launch costs nothing beside them.
CALLS = 10
# Rewritten between cold calls; more than twice the last-level cache of any card so far.
FLUSH_BYTES = 512 << 20


def convolutions(desc, size):
    """(name, c_in, c_out, extent of the input, filter, stride) of every convolution, in the network's order."""
    yield "stem", 3, desc["widths"][0], size, 3, 1
    for block in blocks_of(desc):
        c_in, stride, first = block.c_in, block.stride, size
        for name in block.layers:
            yield name, c_in, block.c_out, size, 3, stride
            c_in, size, stride = block.c_out, -(-size // stride), 1
        if has_outer(desc) and changes_shape(block) and desc["projection"] != "pad":
            filter_ = 3 if desc["projection"] == "3x3" else 1
            yield f"{block.name}.shortcut", block.c_in, block.c_out, first, filter_, block.stride
    if desc["head"] == "conv":
        yield "head", desc["widths"][2], desc["classes"], size, 1, 1


def distinct(desc, size):
    """The same, each shape once: [(names that have it, shape)]."""
    named = {}
    for name, *shape in convolutions(desc, size):
        named.setdefault(tuple(shape), []).append(name)
    return [(names, shape) for shape, names in named.items()]


def calls_of(shape, batch, device, dtype, generator):
    """pass -> a function that computes it once, on random data [N, C, H, W] with channels last."""
    c_in, c_out, size, filter_, stride = shape
    out = -(-size // stride)
    padding = filter_ // 2

    def random(*extents):
        values = torch.randn(extents, generator=generator, device=device).to(dtype)
        return values.to(memory_format=torch.channels_last)

    x, dz = random(batch, c_in, size, size), random(batch, c_out, out, out)
    w = random(c_out, c_in, filter_, filter_)

    def gradient(mask):
        arguments = (dz, x, w, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, mask)
        return torch.ops.aten.convolution_backward(*arguments)

    return {
        "forward": lambda: F.conv2d(x, w, stride=stride, padding=padding),
        "data_grad": lambda: gradient([True, False, False]),
        "weight_grad": lambda: gradient([False, True, False]),
    }


def spread(prefix, microseconds):
    """Median, extremes and count, by key."""
    return {
        f"{prefix}median_us": statistics.median(microseconds), f"{prefix}min_us": min(microseconds),
        f"{prefix}max_us": max(microseconds), f"{prefix}count": len(microseconds),
    }


def time_on_card(call, repeats):
    """Warm: CALLS in a row, captured as one graph so that no launch is waited for. Cold: one after a flushed cache."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # cuDNN chooses its algorithm at the first
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()

    flush = torch.empty(FLUSH_BYTES // 4, device="cuda")

    def timed(before, run, calls):
        pairs = []
        for _ in range(repeats):
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            before()
            events[0].record()
            run()
            events[1].record()
            pairs.append(events)
        torch.cuda.synchronize()
        return [1000 * start.elapsed_time(end) / calls for start, end in pairs]

    graph.replay()
    warm = timed(lambda: None, graph.replay, CALLS)
    # The flush outlasts the launch of what follows, which so begins the moment that the flush ends.
    cold = timed(lambda: flush.normal_(), call, 1)
    return spread("", warm) | spread("flushed_", cold)


def time_on_processor(call, repeats):
    """The same keys from the wall clock, without a flush."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(1e6 * (time.perf_counter() - start))
    return spread("", seconds)


def time_layers(desc, size, batch, device, dtype, repeats, only, is_time_up):
    """(rows, names of what did not fit the time). `only`: a text that a row's `name/pass` must contain."""
    generator = torch.Generator(device).manual_seed(1)
    rows, not_run = [], []
    for names, shape in distinct(desc, size):
        wanted = [p for p in PASSES if only in f"{names[0]}/{p}" and not (names[0] == "stem" and p == "data_grad")]
        if not wanted:
            continue
        if is_time_up():
            not_run += [f"{names[0]}/{p} at batch {batch}: no time was left" for p in wanted]
            continue
        calls = calls_of(shape, batch, device, dtype, generator)
        c_in, c_out, extent, filter_, stride = shape
        out = -(-extent // stride)
        for p in wanted:
            times = (time_on_card if device == "cuda" else time_on_processor)(calls[p], repeats)
            flop = 2 * batch * out * out * c_out * c_in * filter_ * filter_
            what = {"name": names[0], "pass": p, "same_as": names[1:], "batch": batch, "flop": flop}
            shapes = {"c_in": c_in, "c_out": c_out, "size": extent, "filter": filter_, "stride": stride}
            rows.append(what | shapes | times | {"tflop_s": flop / times["median_us"] / 1e6})
    return rows, not_run
