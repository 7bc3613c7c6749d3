"""Everything that needs an NVIDIA card, in one command that ends inside a time limit. See gpu-suite.sh --help."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "../peers"))

import card  # noqa: E402
import results  # noqa: E402
import scale  # noqa: E402
import stage_kernels  # noqa: E402
import stage_profile  # noqa: E402
import stage_sanitize  # noqa: E402
import stage_step  # noqa: E402
import stage_test  # noqa: E402
import stage_train  # noqa: E402
import stage_tune  # noqa: E402
from engine import Engine  # noqa: E402
from peers import Peers  # noqa: E402
from work import Work, now, own_command  # noqa: E402

# Correctness first. A stage's share of the time: what it does not use goes to those after it.
STAGES = {
    "test": (stage_test.run, 3),
    "sanitize": (stage_sanitize.run, 3),
    "tune": (stage_tune.run, 5),
    "kernels": (stage_kernels.run, 5),
    "step": (stage_step.run, 8),
    "profile": (stage_profile.run, 3),
    "train": (stage_train.run, 5),
}

HELP = """Tests, sanitizes and times rir on an NVIDIA card, and writes a JSON file a stage.

usage: benches/gpu-suite.sh [STAGE...] [OPTION...]

stages (default: all; they run in this order, and one that fails does not end the rest)
  test        the table of operations; training in f32 and bf16 beside the CPU's; the same bits twice and after a resume
  sanitize    compute-sanitizer's four tools over rows of the table and two steps of training
  tune        which kernels are the fastest for every convolution; the stages after it, in later calls too, take them
  kernels     every kernel beside its limit, the ladder, and every convolution beside cuDNN's through PyTorch
  step        the training step beside PyTorch's (eager, CUDA graphs, compiled) and JAX's, by turns, at four batches
  profile     Nsight Compute over the three heaviest operations of the step, as stage kernels has measured them
  train       recipe `fast` on CIFAR-10 beside airbench, its curves beside PyTorch's; then the paper's tables, the
              18-wide RiR first; goes on when called again. Needs --data
options
  --device cuda|cuda:N|emu   emu rehearses every stage without a card, at tiny sizes [default: cuda]
  --time-limit SECONDS       end before this; what did not fit is named in the results [default: 1800]
  --binary PATH              the program [default: target/release/rir]
  --output DIR               where the results go [default: benches/results; of a rehearsal: target/rehearsal]
  --data DIR                 the folder that holds CIFAR-10, and CIFAR-100 (data-scripts/fetch-cifar.sh 10 DIR)
  --stale                    only list the stages whose newest result is of other kernels than the program's; exit
                             status 1 where there are any
exit status: 0, 1 where anything failed, 2 for a wrong argument or where there is no card

environment: PYTHON has PyTorch, and airbench for stage train; JAX_PYTHON has JAX [default: python3, and PYTHON]. A
peer that is missing is named and left out. Needs an NVIDIA driver of release 580 or newer; compute-sanitizer and ncu
from the CUDA toolkit.

The machine with the card needs neither Rust nor git, only this repository's files and the program, which knows its
commit and the hash of its kernels. To make the program small enough to send:
  RIR_CUDA_ARCHS=90a cargo build --release     kernels for one kind of card, here an H100
  strip target/release/rir                     most of the file is names and lines for debuggers"""


class Suite:
    """What every stage is given."""

    def __init__(self, args, folder, head):
        device = "emu" if args.device == "emu" else "cuda"
        self.engine = Engine(args.binary, device)
        self.scale = scale.of(device, folder)
        pythons = {"torch": os.environ.get("PYTHON", "python3")}
        pythons["jax"] = os.environ.get("JAX_PYTHON", pythons["torch"])
        pythons["airbench"] = pythons["torch"]
        self.peers = Peers(pythons, device, self.scale)
        self.data, self.output = args.data, args.output
        self.choices = os.path.join(args.output, "choices", results.choices_name(head["card"], head["kernels_hash"]))
        self.take_choices()

    def take_choices(self):
        """Has the commands from here on take the kernels that were found to be the fastest, where some were."""
        if self.engine.device == "cuda" and os.path.isfile(self.choices):
            self.engine.choices = self.choices


class Parser(argparse.ArgumentParser):
    """One sentence for a mistake, without the usage."""

    def error(self, message):
        stop(f"{message} (see gpu-suite.sh --help)")


def arguments():
    parser = Parser(prog="gpu-suite.sh", add_help=False, allow_abbrev=False)
    parser.add_argument("stages", nargs="*")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--time-limit", type=float, default=1800.0)
    parser.add_argument("--binary", default=os.path.join(ROOT, "target/release/rir"))
    parser.add_argument("--output")
    parser.add_argument("--data")
    parser.add_argument("--stale", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    args = parser.parse_intermixed_args()
    if args.help:
        print(HELP)
        sys.exit(0)
    unknown = [stage for stage in args.stages if stage not in STAGES]
    if unknown:
        parser.error(f"no stage '{unknown[0]}'; the stages are {', '.join(STAGES)}")
    if args.device not in ("cuda", "emu") and not (args.device.startswith("cuda:") and args.device[5:].isdigit()):
        parser.error(f"no device '{args.device}'; give cuda, cuda:N or emu")
    if not args.time_limit >= 10:
        parser.error(f"--time-limit is {args.time_limit:g} seconds; give at least 10")
    if not os.path.isfile(args.binary):
        parser.error(f"no program at {args.binary}; build it with cargo build --release, or say --binary PATH")
    if args.data and not os.path.isdir(args.data):
        parser.error(f"no folder {args.data}; data-scripts/fetch-cifar.sh 10 {args.data} makes it")
    args.binary = os.path.abspath(args.binary)
    default = "target/rehearsal" if args.device == "emu" else "benches/results"
    args.output = os.path.abspath(args.output or os.path.join(ROOT, default))
    return args


def heading(args, identity):
    """What every stage's file begins with. Exits where there is nothing to run on."""
    found = {"date": now(), "device": "emu" if args.device == "emu" else "cuda"}
    if args.device == "emu":
        if not identity.get("emulator"):
            stop("this program has no emulator; build it where there is a C++20 compiler")
        found |= {"card": "emu", "driver": None, "cuda": None}
    else:
        if not identity.get("cuda") or identity.get("cuda_error"):
            stop(identity.get("cuda_error") or "there is no card; --device emu rehearses without one")
        known = card.identity() or {}
        name = known.get("name") or identity["cuda"][0]["name"]
        found |= {"card": name, "driver": known.get("driver_version"), "cuda": toolkit()}
    return found | {key: identity[key] for key in ("commit", "kernels_hash")} | {"command": own_command()}


def stop(sentence):
    print(f"gpu-suite.sh: {sentence}", file=sys.stderr)
    sys.exit(2)


def toolkit():
    """The CUDA version that the driver supports, as nvidia-smi prints it, or None."""
    try:
        text = subprocess.run(["nvidia-smi"], stdout=subprocess.PIPE, text=True, timeout=20).stdout
        return text.split("CUDA Version:")[1].split()[0]
    except (OSError, subprocess.TimeoutExpired, IndexError):
        return None


def list_stale(args, identity):
    """Prints the stages that need to be run again; the exit status."""
    found = results.stale(args.output, identity["kernels_hash"], "emu" if args.device == "emu" else "cuda")
    for stage, why in found:
        print(f"{stage}: {why}")
    if not found:
        print(f"every stage has a result for these kernels ({results.short(identity['kernels_hash'])})")
    return 1 if found else 0


def run_stage(suite, stage, deadline, head):
    """Whether the stage found nothing wrong."""
    path = os.path.join(suite.output, results.file_name(stage, head["card"], head["date"]))
    print(f"{stage} ({deadline - time.monotonic():.0f} s)", flush=True)
    work = Work(suite, stage, deadline, head, path)
    try:
        STAGES[stage][0](work)
    except Exception as error:  # a mistake of the suite itself must not cost the other stages
        work.fail("the suite itself", f"{type(error).__name__}: {error}", output=traceback.format_exc())
    finally:
        work.save()
        work.folder.cleanup()
    print(f"  {len(work.failed)} failed, {len(work.not_run)} not run: {path}", flush=True)
    return not work.failed


def main():
    args = arguments()
    identity = Engine(args.binary, "emu").identity()
    if args.stale:
        return list_stale(args, identity)
    if args.device.startswith("cuda:"):
        # Ours, the peers and nvidia-smi then all mean the same card, as their first.
        os.environ["CUDA_VISIBLE_DEVICES"] = card.visible(int(args.device[5:]))
        identity = Engine(args.binary, "cuda").identity()
    # Ended from outside, the suite ends its command and leaves the file of the stage it was in.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    end = time.monotonic() + args.time_limit - 5
    head = heading(args, identity)
    asked = [stage for stage in STAGES if stage in args.stages] or list(STAGES)
    fine = True
    with tempfile.TemporaryDirectory(prefix="rir-suite-") as folder:
        if args.device == "emu":
            # A rehearsed run that is called again reads its images again.
            folder = os.path.join(args.output, "inputs")
            os.makedirs(folder, exist_ok=True)
        suite = Suite(args, folder, head)
        for i, stage in enumerate(asked):
            weights = [STAGES[later][1] for later in asked[i:]]
            share = (end - time.monotonic()) * weights[0] / sum(weights)
            fine &= run_stage(suite, stage, time.monotonic() + share, {**head, "date": now()})
    return 0 if fine else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
