"""Whether our loss curves and PyTorch's are those of one recipe: each lies in the band that the other's seeds allow.

    compare_curves.py runs/NAME-s0 runs/NAME-s1 runs/NAME-s2 --peer torch.json --json curves.json

Ours are run folders, one a seed; the peer's are files of torch_train.py. Each side needs two seeds, better three; the
curves are compared where all of them have come to. Three tests, each Student's t-test of two means, the seeds' variance
pooled over both sides: the means may differ by at most

    t(99 %, seeds - 2) * deviation * sqrt(1 / our seeds + 1 / the peer's)

    the curve        The lines of metrics, a twentieth of an epoch each, are averaged to at most 20 stretches of equal
                     length, which takes the noise of batches out. One true stretch in a hundred falls outside of
                     its band by chance; it passes where no more do than in 99 of 100 such cases (2 of 20).
    the mean loss    over the whole curve: one number a seed, which finds a small difference that goes on and on.
    test accuracy    after the last epoch that all have evaluated.

Programs that are both right therefore fail about three times in a hundred, and pass with other seeds. A loss or an
accuracy that is no number fails. What changes a run less than its seeds do passes: more seeds find smaller differences.
Prints a table and writes JSON with both curves. Exit status: 0 where they agree, 1 where they do not, 2 where they
cannot be compared. Needs nothing beyond Python.
"""

import argparse
import datetime
import functools
import json
import math
import os
import shlex
import statistics
import sys

import recipe as recipes

CONFIDENCE = 0.99
STRETCHES = 20


# --------------------------------------------------------------------------------------------------- statistics


@functools.lru_cache(maxsize=None)
def t_quantile(confidence, freedom):
    """The t that a Student's variable stays within, on both sides, with this probability."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)

    def within(t, parts=2000):
        # Simpson's rule for the density from -t to t.
        density = [(1 + (t * i / parts) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(parts + 1)]
        inner = 4 * sum(density[1:-1:2]) + 2 * sum(density[2:-1:2])
        return 2 * scale * (density[0] + inner + density[-1]) * t / parts / 3

    low, high = 0.0, 1.0
    while within(high) < confidence:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < confidence else (low, middle)
    return high


def allowed_outside(count, share):
    """The least number that so many independent cases of this share exceed in at most one case of a hundred."""
    number, tail = 0, 1.0
    for number in range(count + 1):
        tail -= math.comb(count, number) * share**number * (1 - share) ** (count - number)
        if tail <= 0.01 + 1e-9:
            break
    return number


def compared(ours, peer):
    """The t-test of two lists of numbers, one a seed."""
    freedom = len(ours) + len(peer) - 2
    means = statistics.fmean(ours), statistics.fmean(peer)
    squares = [sum((x - mean) ** 2 for x in values) for values, mean in zip((ours, peer), means)]
    deviation = math.sqrt(sum(squares) / freedom)
    deviations = [math.sqrt(square / (len(values) - 1)) for values, square in zip((ours, peer), squares)]
    band = t_quantile(CONFIDENCE, freedom) * deviation * math.sqrt(1 / len(ours) + 1 / len(peer))
    difference = means[0] - means[1]
    return {
        "ours": means[0], "ours_deviation": deviations[0], "peer": means[1], "peer_deviation": deviations[1],
        "difference": difference, "band": band,
        # Rounding of equal numbers is no difference, and NaN is none that is within.
        "within": abs(difference) <= band + 1e-12 * abs(means[1]),
    }


# -------------------------------------------------------------------------------------------------------- runs


def our_run(folder):
    """(lines of metrics, what was trained) of a run folder."""
    config = recipes.read_config(folder)
    with open(os.path.join(folder, "metrics.jsonl")) as file:
        lines = [json.loads(line) for line in file if line.endswith("\n")]
    classes = 100 if "100" in os.path.basename(config["data"]) else 10
    model = recipes.description(config["model"], classes, folder)
    return lines, {"recipe": config["recipe"], "model": model, "precision": config["precision"]}


def peer_runs(path):
    """The same of each seed in a file of torch_train.py."""
    with open(path) as file:
        result = json.load(file)
    what = {key: result[key] for key in ("recipe", "model", "precision")}
    return [(run["lines"], what) for run in result["runs"] if run["lines"]]


def differing(ours, peer):
    """Names of settings in which the two sides' first runs are not the same."""
    (_, a), (_, b) = ours[0], peer[0]
    names = [key for key in ("model", "precision") if a[key] != b[key]]
    keys = sorted((set(a["recipe"]) | set(b["recipe"])) - {"name"})
    texts = ((key, a["recipe"].get(key), b["recipe"].get(key)) for key in keys)
    return names + [f"{key} ({x} against {y})" for key, x, y in texts if x != y]


def curve(lines, kind, key):
    """step -> value."""
    return {line["step"]: number(line[key]) for line in lines if line["kind"] == kind and key in line}


def number(value):
    """JSON has null for what is no number."""
    return math.nan if value is None else value


def common(curves, what):
    """The steps that all curves have, in order. Raises ValueError where they were not cut into the same windows."""
    shared = sorted(set.intersection(*(set(c) for c in curves)))
    shortest = min(len(c) for c in curves)
    if not shared or len(shared) < 0.9 * shortest:
        raise ValueError(f"of the {what} only {len(shared)} stand at the same steps in every run: the runs differ in "
                         "batch size, training images, or length")
    return shared


# --------------------------------------------------------------------------------------------------- comparison


def stretches_of(steps):
    """The steps cut into at most STRETCHES pieces of equal length, or nearly."""
    count = min(STRETCHES, len(steps))
    bounds = [len(steps) * i // count for i in range(count + 1)]
    return [steps[low:high] for low, high in zip(bounds, bounds[1:])]


def compare(ours, peer):
    """The whole comparison as JSON has it. Raises ValueError for runs that cannot be compared."""
    sides = {"ours": ours, "peer": peer}
    for name, runs in sides.items():
        if len(runs) < 2:
            raise ValueError(f"{len(runs)} run of {name}: a spread needs at least two seeds of each side")
    losses, accuracies = (
        {name: [curve(lines, kind, key) for lines, _ in runs] for name, runs in sides.items()}
        for kind, key in (("step", "train_loss"), ("epoch", "test_accuracy"))
    )
    steps = common([c for curves in losses.values() for c in curves], "lines of training losses")
    evaluated = common([c for curves in accuracies.values() for c in curves], "evaluations")

    def means(which):
        return ([statistics.fmean(c[step] for step in which) for c in losses[name]] for name in sides)

    stretches, before = [], 0
    for piece in stretches_of(steps):
        stretches.append({"first_step": before + 1, "last_step": piece[-1], **compared(*means(piece))})
        before = piece[-1]
    outside, allowed = sum(not s["within"] for s in stretches), allowed_outside(len(stretches), 1 - CONFIDENCE)
    mean = compared(*means(steps))
    accuracy = compared(*([c[evaluated[-1]] for c in accuracies[name]] for name in sides))
    return {
        "seeds": {name: len(runs) for name, runs in sides.items()}, "differing_settings": differing(ours, peer),
        "steps": steps, "losses": {name: [[c[step] for step in steps] for c in losses[name]] for name in sides},
        "evaluated_steps": evaluated,
        "test_accuracies": {name: [[c[step] for step in evaluated] for c in accuracies[name]] for name in sides},
        "stretches": stretches, "outside": outside, "allowed_outside": allowed, "mean_loss": mean,
        "test_accuracy": accuracy, "agree": outside <= allowed and mean["within"] and accuracy["within"],
    }


def without_nan(value):
    """The same with None for what is no number, as JSON has it."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show(result):
    """The table."""
    seeds = result["seeds"]
    print(f"{seeds['ours']} runs of ours, {seeds['peer']} of the peer; mean and deviation of the seeds")
    if result["differing_settings"]:
        print(f"the two sides differ in {', '.join(result['differing_settings'])}")
    print(f"{'loss of steps':16}{'ours':>18}{'peer':>18}{'difference':>12}{'band':>10}")

    def row(name, test):
        both = (f"{test[side]:9.4f} ± {test[f'{side}_deviation']:6.4f}" for side in ("ours", "peer"))
        mark = "" if test["within"] else "  OUTSIDE"
        sides = "".join(f"{text:>18}" for text in both)
        print(f"{name:16}{sides}{test['difference']:12.4f}{test['band']:10.4f}{mark}")

    for stretch in result["stretches"]:
        row(f"{stretch['first_step']} to {stretch['last_step']}", stretch)
    row("mean loss", result["mean_loss"])
    row("test accuracy", result["test_accuracy"])
    count = f"{result['outside']} of {len(result['stretches'])} stretches outside, {result['allowed_outside']} allowed"
    print(f"{count}: the curves {'agree' if result['agree'] else 'DISAGREE'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", nargs="+", help="run folders, one a seed")
    parser.add_argument("--peer", nargs="+", required=True, metavar="FILE", help="files of torch_train.py")
    parser.add_argument("--json", metavar="FILE", help="write the comparison there")
    args = parser.parse_args()
    try:
        ours = [our_run(folder) for folder in args.ours]
        peer = [run for path in args.peer for run in peer_runs(path)]
        result = compare(ours, peer)
    except (OSError, ValueError, KeyError) as error:
        why = f"a key {error} is missing" if isinstance(error, KeyError) else error
        print(f"compare_curves.py: {why}", file=sys.stderr)
        return 2
    show(result)
    if args.json:
        head = {
            "comparison": "curves", "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "command": shlex.join(["compare_curves.py", *sys.argv[1:]]), "trained": ours[0][1],
        }
        with open(args.json, "w") as file:
            json.dump(without_nan(head | result), file)
            file.write("\n")
    return 0 if result["agree"] else 1


if __name__ == "__main__":
    sys.exit(main())
