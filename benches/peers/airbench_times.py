"""Times Keller Jordan's airbench95 and airbench96 on this card: the fastest public trainings of CIFAR-10 that we know.

    airbench_times.py --data DIR --runs 3 --json airbench.json

The package is the author's, from PyPI (`airbench`, which needs PyTorch and torchvision); nothing of it is copied here.
Where there is no network:

    pip wheel --no-deps airbench -w wheels          where there is one
    PYTHONPATH=wheels/airbench-*.whl python ...     on the card's machine: a wheel of Python alone is imported as it is

It reads CIFAR-10 from a file that torchvision's download would make; this makes the same file from the official binary
files (--data), in a folder that goes afterwards. Of every seed this records

    seconds            as the package reports them, by the card's clock: the whitening's initialisation, all epochs of
                       training with the drawing of their batches, and the evaluation with test-time augmentation; not
                       reading the data, making the network, evaluations in between, and the warm-up run
    training_seconds   the same after the last epoch, without the evaluation
    wall_seconds       around the whole call, by the processor's clock
    accuracy           of the trained network, in per cent: plain; with the mirrored image's logits added (`flipped`);
                       with the package's own six views (`augmented`)
"""

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
import time

import card
import record

NAMES = ("airbench95", "airbench96")
# Test-time augmentation as the package numbers it.
VIEWS = {"accuracy": 0, "flipped_accuracy": 1, "augmented_accuracy": 2}
STARTED = time.monotonic()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="where CIFAR-10's binary files are")
    parser.add_argument("--names", default=",".join(NAMES), help="one or both [default: %(default)s]")
    parser.add_argument("--runs", type=int, default=3, help="of each, after a warm-up; seeds from 0")
    parser.add_argument("--time-limit", type=float, default=float("inf"), metavar="SECONDS", help="begin no run after")
    parser.add_argument("--json", help="write the result to this file, after every run")
    args = parser.parse_args()
    args.names = args.names.split(",")
    unknown = [name for name in args.names if name not in NAMES]
    if unknown:
        parser.error(f"no {unknown[0]!r}; there are {', '.join(NAMES)}")
    if args.runs < 1:
        parser.error("--runs must be at least 1")
    return args


def prepare(data, target):
    """`train.pt` and `test.pt` in the folder where the package looks for them. Raises ValueError without CIFAR-10."""
    import cifar
    import torch

    name, folder = cifar.find(data, "cifar10")
    with open(os.path.join(folder, "batches.meta.txt")) as file:
        classes = file.read().split()
    os.makedirs(target)
    for split in ("train", "test"):
        pixels, labels = cifar.load(name, folder, split)
        torch.save({"images": pixels, "labels": labels, "classes": classes}, os.path.join(target, f"{split}.pt"))


def seconds_of(printed):
    """(seconds after the last epoch, seconds in all) of the table that a run prints. Raises ValueError without one.

    Its columns are run, epoch, train_loss, train_acc, val_acc, tta_val_acc, total_time_seconds; the last row's epoch is
    `eval`.
    """
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if "|" in line]
    titles = next((row for row in rows if "epoch" in row), ["run", "epoch", "", "", "", "", "total_time_seconds"])
    epoch, clock = titles.index("epoch"), titles.index("total_time_seconds")
    done = [(row[epoch], row[clock]) for row in rows if row is not titles and len(row) == len(titles) and row[clock]]
    if len(done) < 2 or done[-1][0] != "eval" or not done[-2][0].isdigit():
        raise ValueError("the package's table is not the one that this script reads")
    return float(done[-2][1]), float(done[-1][1])


def one_run(airbench, name, seed):
    """A whole training."""
    import torch

    torch.manual_seed(seed)
    printed, start = io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(printed):
        network = getattr(airbench, name.replace("airbench", "train"))(run=seed)
    torch.cuda.synchronize()
    wall = time.perf_counter() - start
    training, seconds = seconds_of(printed.getvalue())
    loader = airbench.CifarLoader("cifar10", train=False, batch_size=2000)
    accuracies = {key: 100 * airbench.evaluate(network, loader, tta_level=level) for key, level in VIEWS.items()}
    return {"seed": seed, "seconds": seconds, "training_seconds": training, "wall_seconds": wall, **accuracies}


def summary(runs):
    """Mean and sample standard deviation of every number."""
    keys = [key for key in runs[0] if key != "seed"]
    values = {key: [run[key] for run in runs] for key in keys}
    return {
        key: {"mean": statistics.fmean(v), "deviation": statistics.stdev(v) if len(v) > 1 else None}
        for key, v in values.items()
    }


def time_all(args, airbench, result):
    """Fills the result's rows; what fails is named and does not end the other."""
    for name in args.names:
        row = {"name": name, "card_before": card.state(), "runs": []}
        result["rows"].append(row)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                getattr(airbench, name.replace("airbench", "warmup"))()
            for seed in range(args.runs):
                if time.monotonic() - STARTED > args.time_limit:
                    result["not_run"].append(f"{name}, seed {seed}: no time was left")
                    continue
                row["runs"].append(run := one_run(airbench, name, seed))
                row["summary"] = summary(row["runs"])
                times = f"{run['seconds']:.3f} s, {run['training_seconds']:.3f} s of them training"
                accuracies = f"{run['accuracy']:.2f} %, augmented {run['augmented_accuracy']:.2f} %"
                print(f"{name}, seed {seed}: {times}, accuracy {accuracies}", flush=True)
                record.write(args.json, result)
        except Exception as error:  # whatever another version of the package or of PyTorch does not bear
            text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            result["failed"].append(f"{name}: {text}")
            print(f"FAIL  {result['failed'][-1]}", flush=True)
        row["card_after"] = card.state()
        record.write(args.json, result)


def main():
    args = arguments()
    try:
        import airbench
        import torch
        from importlib.metadata import PackageNotFoundError, version
    except ImportError as error:
        sys.exit(f"airbench_times.py: {error}; pip install airbench torchvision (--help: without network)")
    if not torch.cuda.is_available():
        sys.exit("airbench_times.py: PyTorch sees no card, and airbench runs on nothing else")
    try:
        installed = version("airbench")
    except PackageNotFoundError:
        installed = None
    result = record.heading("airbench_times.py", "cuda") | {"peer": "airbench", "rows": [], "not_run": [], "failed": []}
    result["versions"]["airbench"] = installed
    data, output = os.path.abspath(args.data), args.json and os.path.abspath(args.json)
    args.json = output
    with tempfile.TemporaryDirectory(prefix="airbench-") as folder:
        try:
            prepare(data, os.path.join(folder, "cifar10"))
        except (OSError, ValueError) as error:
            sys.exit(f"airbench_times.py: {error}")
        os.chdir(folder)  # the package reads ./cifar10
        time_all(args, airbench, result)
        os.chdir(data)
    record.write(output, result)
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
