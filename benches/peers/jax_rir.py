"""Times JAX training ResNet in ResNet, and checks its numbers and ours against each other.

    pip install jax==0.10.2 numpy==2.4.6 safetensors==0.8.0

    jax_rir.py --model rir-18-wide --batch 32 --steps 10 --warmup 2 --threads 2 --json jax.json
        One training step (forward, backward, SGD update), compiled as a whole, state donated, the same random
        batch at every step. Prints images/s (median, spread) and the peak resident memory of the process.

    jax_rir.py --device cuda --precision bf16 --model rir-18-wide --batch 500 --steps 30 --json jax.json
        The same on a card that JAX sees. Activations and the convolutions' weights are bf16, the state f32. Steps are
        timed ten at a time, so that the card never waits for the processor. Prints the card's peak memory.

    jax_rir.py --model rir-18-wide --batch 32 --threads 2 --compare "COMMAND" --pairs 3
        Alternates a fresh JAX process and COMMAND on the same cores. COMMAND's last line on stdout must be a JSON
        object with `images_per_second` and `peak_rss_bytes`. Prints the ratio ours / JAX pair by pair.

    jax_rir.py --model rir-32 --check TRACE --checkpoint CHECKPOINT --input BATCH
        Recomputes a trace in f64: TRACE holds `logits`, `loss`, `activation.<layer>` and, unless --evaluate,
        `grad.<parameter>`; BATCH holds `images` [N, 3, H, W] and `labels` [N]; CHECKPOINT the parameters and
        running statistics. All are safetensors. Exits with 1 where a relative error exceeds 1e-8. With --compare
        the check comes first, and a failed check ends the run.

Threads are bounded by the process's CPU affinity, from which XLA sizes its thread pool.

What was tried, on 2 cores of a Zen 4 EPYC (rir-18-wide, batch 32, jax 0.10.2; medians of two rounds of 5 steps in
images/s). One round repeats another only to 5 or 10%, so that most of these are one speed; the default is the line
that was never slow. First one device (--shards 1):

    N H W C, H W I O, one-pass variance, huge pages                               17.5, 17.8    peak 1.15 GiB
    --small-pages (4 KiB pages, as without GLIBC_TUNABLES)                        17.5, 17.0    peak 1.11 GiB
    --exact-variance                                                              16.7, 15.7
    --image-layout NCHW --kernel-layout OIHW                                      16.8, 15.4
    --kernel-layout OIHW                                                          17.6, 15.7
    --xla-flags=--xla_cpu_prefer_vector_width=512                                 17.4, 16.1
    --xla-flags="--xla_cpu_use_onednn=true --xla_cpu_experimental_onednn_custom_call=true"    16.0, 17.6
    --xla-flags=--xla_cpu_enable_fast_math=true                                   15.3, 17.5
    --xla-flags=--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_RUNTIME                  14.6, 15.7*
    * other processes took half a core

Also tried, layer by layer, against XLA's own convolution and its gradients: the convolution as one matrix product
over gathered patches (slower on the large layers, faster on one small one), and the weight gradient as three or
nine matrix products over shifted images (the same in sum). Multi-threaded Eigen is XLA's default.

The first line, with the batch split over two host devices (--shards 2, the default), so that what XLA runs on one
thread runs twice side by side: 18.3 (others took 0.13 cores), 16.7; its fastest step 20.3, against 18.4 on one
device; peak 1.20 GiB. Where memory is compared, time --shards 1 too.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

import card

# Steps between two waits for a card.
STEPS_IN_A_ROW = 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    model = parser.add_argument_group("model")
    model.add_argument("--model", default="rir-18-wide", help="a named model")
    model.add_argument("--description", help="the model as JSON (see rir_model.py), instead of --model")
    model.add_argument("--classes", type=int, default=10, help="of a named model")
    model.add_argument("--label-smoothing", type=float, default=0.0)
    timing = parser.add_argument_group("timing")
    timing.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    timing.add_argument("--precision", default="f32", choices=("f32", "bf16"))
    timing.add_argument("--batch", type=int, default=32)
    timing.add_argument("--image-size", type=int, default=32)
    timing.add_argument("--steps", type=int, default=10)
    timing.add_argument("--warmup", type=int, default=2, help="steps before the timed ones")
    timing.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    timing.add_argument("--json", help="write the result to this file")
    timing.add_argument("--image-layout", default="NHWC", choices=("NHWC", "NCHW"))
    timing.add_argument("--kernel-layout", default="HWIO", choices=("HWIO", "OIHW"))
    timing.add_argument("--exact-variance", action="store_true", help="batch variance in two passes, not in one")
    timing.add_argument("--small-pages", action="store_true", help="do not ask for transparent huge pages")
    timing.add_argument("--shards", type=int, help="host devices that split the batch (default: one a thread)")
    timing.add_argument("--xla-flags", default="", help="further XLA_FLAGS")
    timing.add_argument("--compare", metavar="COMMAND", help="alternate with this command")
    timing.add_argument("--pairs", type=int, default=3)
    check = parser.add_argument_group("check")
    check.add_argument("--check", metavar="TRACE", help="compare this trace with JAX in f64")
    check.add_argument("--checkpoint")
    check.add_argument("--input", metavar="BATCH")
    check.add_argument("--evaluate", action="store_true", help="the trace used the running statistics")
    check.add_argument("--activation-layout", default="auto", choices=("auto", "NHWC", "NCHW"))
    args = parser.parse_args()
    if args.check and not (args.checkpoint and args.input):
        parser.error("--check needs --checkpoint and --input")
    if args.device == "cuda" and (args.compare or args.check):
        parser.error("--compare and --check are for --device cpu")
    if args.shards is None:
        args.shards = args.threads if args.device == "cpu" and args.batch % args.threads == 0 else 1
    if args.shards < 1 or args.batch % args.shards:
        parser.error(f"--shards is {args.shards}, but must divide --batch, {args.batch}")
    available = len(os.sched_getaffinity(0))
    if not 1 <= args.threads <= available:
        parser.error(f"--threads is {args.threads}, but this process may use {available} cores")
    return args


def bind(args):
    """Restricts this process to `threads` cores and starts it again with the environment JAX is to see."""
    if args.device == "cuda":
        os.environ["JAX_PLATFORMS"] = "cuda"
        os.environ["XLA_FLAGS"] = args.xla_flags
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    wanted = {"JAX_PLATFORMS": "cpu", "NPROC": str(args.threads)}
    if not args.small_pages:
        wanted["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    devices = "" if args.check else f"--xla_force_host_platform_device_count={args.shards}"
    wanted["XLA_FLAGS"] = f"{devices} {args.xla_flags}".strip()
    if any(os.environ.get(key) != value for key, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})


def description_of(args):
    import rir_model

    if args.description:
        desc = json.loads(args.description)
        rir_model.check_description(desc)
        return desc
    return rir_model.describe(args.model, args.classes)


# ---------------------------------------------------------------------------------------------------- timing


def cpu_model():
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def busy_seconds():
    """CPU seconds that the whole machine has spent working since it started."""
    with open("/proc/stat") as lines:
        user, nice, system, _idle, _wait, irq, soft = map(int, lines.readline().split()[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def time_training(args):
    """Trains on one random batch; returns what the JSON file holds."""
    import jax
    import jaxlib
    import numpy as np

    import rir_model

    desc = description_of(args)
    layout = rir_model.Layout(args.image_layout, args.kernel_layout)
    options = dict(layout=layout)
    if not args.exact_variance:
        options["variance"] = rir_model.fast_variance

    def train_step(params, velocity, stats, images, labels):
        (loss, (_, stats, _)), grads = rir_model.loss_and_gradients(
            desc, params, stats, images, labels, args.label_smoothing, **options
        )
        params, velocity = rir_model.sgd_step(params, velocity, grads, 0.1)
        return params, velocity, stats, loss

    # Every device holds the state and a share of the batch; batch norm still means over the whole batch.
    try:
        devices = jax.devices() if args.device == "cpu" else jax.devices()[:1]
    except (AssertionError, RuntimeError) as error:
        sys.exit(f"jax_rir.py: JAX has no {args.device} device here ({str(error) or 'its plugin found none'})")
    if args.device == "cuda":
        whole = share = jax.sharding.SingleDeviceSharding(devices[0])
    else:
        mesh = jax.sharding.Mesh(np.array(devices), ("batch",))
        whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        share = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))

    params = rir_model.change_kernels(rir_model.init_params(desc, 0), "OIHW", layout.kernel)
    state = jax.device_put((params, jax.tree.map(np.zeros_like, params), rir_model.init_stats(desc)), whole)
    del params
    rng = np.random.default_rng(1)
    images = rng.standard_normal((args.batch, 3, args.image_size, args.image_size), np.float32)
    images = images.astype(jax.numpy.bfloat16) if args.precision == "bf16" else images
    images = jax.device_put(images, share)
    labels = jax.device_put(rng.integers(0, desc["classes"], args.batch).astype(np.int32), share)

    start = time.perf_counter()
    step = jax.jit(train_step, donate_argnums=(0, 1, 2), out_shardings=(whole,) * 4)
    step = step.lower(*state, images, labels).compile()
    compile_seconds = time.perf_counter() - start

    seconds, losses = [], []
    started = time.perf_counter()
    # A card raises its clocks in the second before it is timed.
    while len(losses) < args.warmup or (args.device == "cuda" and time.perf_counter() - started < 1.0):
        *state, loss = step(*state, images, labels)
        losses.append(float(loss))
    before, own, all_, wall = card.state(), time.process_time(), busy_seconds(), time.perf_counter()
    while len(seconds) < args.steps:
        count = min(STEPS_IN_A_ROW if args.device == "cuda" else 1, args.steps - len(seconds))
        start = time.perf_counter()
        for _ in range(count):
            *state, loss = step(*state, images, labels)
        jax.block_until_ready((state, loss))
        seconds += [(time.perf_counter() - start) / count] * count
        losses.append(float(loss))
    own, all_, wall = time.process_time() - own, busy_seconds() - all_, time.perf_counter() - wall
    after = card.state()
    if not all(loss < 1e3 for loss in losses):
        sys.exit(f"jax_rir.py: the loss went {losses}: the numbers are wrong, and so is the time")

    rates = sorted(args.batch / s for s in seconds)
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    on_card = (devices[0].memory_stats() or {}) if args.device == "cuda" else {}
    # As torch_rir.py's rows are.
    row = {
        "form": "jit", "batch": args.batch, "step_ms": 1000 * statistics.median(seconds),
        "step_ms_min": 1000 * min(seconds), "step_ms_max": 1000 * max(seconds), "steps": len(seconds),
        "images_per_second": statistics.median(rates), "images_per_second_min": rates[0],
        "images_per_second_max": rates[-1], "peak_memory_bytes": on_card.get("peak_bytes_in_use", peak_rss),
        "losses": losses, "compile_seconds": compile_seconds, "card_before": before, "card_after": after,
    }
    return {
        "peer": "jax",
        "device": args.device,
        "device_name": devices[0].device_kind,
        "card": card.identity() if args.device == "cuda" else None,
        "rows": [row],
        "images_per_second": statistics.median(rates),
        "images_per_second_min": rates[0],
        "images_per_second_max": rates[-1],
        "peak_rss_bytes": peak_rss,
        "step_seconds": seconds,
        "losses": losses,
        "compile_seconds": compile_seconds,
        "cores_used": own / wall,
        "cores_used_by_others": max(0.0, (all_ - own) / wall),
        "model": desc,
        "parameters": rir_model.parameter_count(desc),
        "batch": args.batch,
        "image_size": args.image_size,
        "threads": args.threads,
        "shards": args.shards,
        "precision": args.precision,
        "layout": layout._asdict(),
        "variance": "two passes" if args.exact_variance else "one pass",
        "environment": {k: os.environ.get(k, "") for k in ("XLA_FLAGS", "GLIBC_TUNABLES", "NPROC")},
        "versions": {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "numpy": np.__version__}
        | {"python": platform.python_version(), "libc": " ".join(platform.libc_ver())},
        "cpu": cpu_model(),
        "cores_of_machine": os.cpu_count(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["jax_rir.py", *sys.argv[1:]]),
    }


def show(label, result):
    line = f"{label}: {result['images_per_second']:.2f} images/s"
    if "images_per_second_min" in result:
        line += f" ({result['images_per_second_min']:.2f} to {result['images_per_second_max']:.2f})"
    peak = result["rows"][0]["peak_memory_bytes"] if "rows" in result else result["peak_rss_bytes"]
    line += f", peak {peak / 2**20:.0f} MiB"
    if result.get("cores_used_by_others", 0) > 0.1:
        line += f"; other processes took {result['cores_used_by_others']:.2f} cores"
    print(line, flush=True)


def run_jax(args):
    """Times JAX in a process of its own, so that its peak memory is its own too."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "jax.json")
        command = [sys.executable, os.path.abspath(__file__), "--json", out]
        same = "model classes label_smoothing batch image_size steps warmup threads shards"
        for name in same.split():
            command += ["--" + name.replace("_", "-"), str(getattr(args, name))]
        command += ["--image-layout", args.image_layout, "--kernel-layout", args.kernel_layout]
        command += ["--description", args.description] if args.description else []
        command += ["--exact-variance"] if args.exact_variance else []
        command += ["--small-pages"] if args.small_pages else []
        command += [f"--xla-flags={args.xla_flags}"] if args.xla_flags else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(out) as file:
            return json.load(file)


def run_ours(command):
    """Runs the command on this process's cores and reads the last line that it prints."""
    threads = str(len(os.sched_getaffinity(0)))
    environment = {**os.environ, "RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    environment.pop("GLIBC_TUNABLES", None)  # asked for on JAX's behalf only
    start = time.perf_counter()
    busy, children = busy_seconds(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True, env=environment)
    wall = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"`{command}` exited with {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    try:
        result = json.loads(done.stdout.strip().splitlines()[-1])
        float(result["images_per_second"]), float(result["peak_rss_bytes"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        sys.exit(f"`{command}` must end with a JSON line of images_per_second and peak_rss_bytes: {error!r}")
    result["cores_used_by_others"] = max(0.0, (busy_seconds() - busy - own) / wall)
    return result


def compare(args):
    """A B A B: what drifts with time meets both alike."""
    pairs = []
    for i in range(1, args.pairs + 1):
        jax, ours = run_jax(args), run_ours(args.compare)
        show(f"pair {i}: jax ", jax)
        show(f"pair {i}: ours", ours)
        speed = ours["images_per_second"] / jax["images_per_second"]
        memory = ours["peak_rss_bytes"] / jax["peak_rss_bytes"]
        print(f"pair {i}: ours / jax: speed {speed:.3f}, memory {memory:.3f}", flush=True)
        pairs.append({"jax": jax, "ours": ours, "speed_ratio": speed, "memory_ratio": memory})
    speeds, memories = [p["speed_ratio"] for p in pairs], [p["memory_ratio"] for p in pairs]
    result = {"speed_ratio": statistics.median(speeds), "memory_ratio": statistics.median(memories)}
    spread = f"({min(speeds):.3f} to {max(speeds):.3f})"
    print(f"median of {len(pairs)}: speed {result['speed_ratio']:.3f} {spread}, memory {result['memory_ratio']:.3f}")
    return {**result, "compare": args.compare, "pairs": pairs}


# ----------------------------------------------------------------------------------------------------- check


def recompute(args, desc):
    """The tensors of a trace, by JAX in f64."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import numpy as np
    from safetensors.numpy import load_file

    import rir_model

    checkpoint, batch = load_file(args.checkpoint), load_file(args.input)
    shapes = rir_model.parameter_shapes(desc)
    stat_shapes = {name: a.shape for name, a in rir_model.init_stats(desc).items()}
    for name, shape in {**shapes, **stat_shapes}.items():
        if name not in checkpoint or checkpoint[name].shape != shape:
            found = checkpoint[name].shape if name in checkpoint else "nothing"
            sys.exit(f"{args.checkpoint}: {name} should have shape {shape}; found {found}")
    params = {name: checkpoint[name].astype(np.float64) for name in shapes}
    stats = {name: checkpoint[name].astype(np.float64) for name in stat_shapes}
    images, labels = batch["images"].astype(np.float64), batch["labels"].astype(np.int32)

    if args.evaluate:
        run = jax.jit(lambda: rir_model.loss(desc, params, stats, images, labels, False, args.label_smoothing))
        (loss, (logits, _, activations)), grads = run(), {}
    else:
        run = jax.jit(lambda p: rir_model.loss_and_gradients(desc, p, stats, images, labels, args.label_smoothing))
        (loss, (logits, _, activations)), grads = run(params)
    ref = {"logits": logits, "loss": loss}
    ref |= {f"activation.{name}": a for name, a in activations.items() if name != "head"}
    ref |= {f"grad.{name}": g for name, g in grads.items()}
    return {name: np.asarray(a) for name, a in ref.items()}


def check(args):
    """Whether the trace is JAX's, within the limit of compare_trace.py."""
    from safetensors.numpy import load_file

    from compare_trace import compare

    return compare(recompute(args, description_of(args)), load_file(args.check), args.check, args.activation_layout)


def main():
    args = arguments()
    bind(args)
    if args.check and not check(args):
        return 1
    if args.check and not args.compare:
        return 0
    result = compare(args) if args.compare else time_training(args)
    if not args.compare:
        name = "custom model" if args.description else args.model
        where = f"{args.threads} threads" if args.device == "cpu" else result["device_name"]
        show(f"jax {result['versions']['jax']}, {name}, batch {args.batch}, {where}", result)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
