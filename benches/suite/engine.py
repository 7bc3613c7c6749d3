"""Our program as the suite calls it: everything that the suite assumes of its options and its output is here."""

import json
import os
import subprocess
import sys


class Engine:
    """The binary and the device that it is to run on."""

    def __init__(self, binary, device):
        self.binary, self.device = binary, device
        self.choices = "none"  # of kernels: a file, or none; never what happens to lie in the user's cache

    def identity(self):
        """The build and what it can run on: `commit`, `kernels_hash`, `cuda` (cards or None), `cuda_error`, `emulator`.

        Exits with a sentence where the binary does not run.
        """
        command = [self.binary, "devices", "--json"]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        except OSError as error:
            sys.exit(f"gpu-suite.sh: cannot run {self.binary}: {error.strerror}; build it, or say --binary PATH")
        except subprocess.TimeoutExpired:
            sys.exit(f"gpu-suite.sh: {self.binary} devices did not end in two minutes")
        try:
            if done.returncode != 0:
                raise ValueError(done.stderr.strip())
            found = json.loads(done.stdout)
            found.setdefault("commit", "unknown")
            found.setdefault("kernels_hash", "unknown")
            return found
        except (ValueError, AttributeError) as error:
            sys.exit(f"gpu-suite.sh: {self.binary} devices --json did not answer with JSON: {error}")

    # ---------------------------------------------------------------------------------------------- commands

    def check(self, text="", device=None):
        """The table of operations, those rows whose names contain the text. A card waits for every kernel."""
        device = device or self.device
        sync = ["--sync"] if device == "cuda" else []
        return [self.binary, "check", "--device", device, "--json", *sync, *(["--filter", text] if text else [])]

    def train(self, folder, options, device=None):
        """A run in a new folder."""
        device = device or self.device
        command = [self.binary, "train", "--device", device, "--output", folder, "--quiet", "--json"]
        return [*command, *self.chosen(device), *options]

    def chosen(self, device):
        """Which kernels a card takes; a resumed run takes those that it has recorded."""
        return ["--choices", self.choices] if device == "cuda" else []

    def resume(self, folder, options=()):
        """The run in that folder, continued."""
        return [self.binary, "train", "--resume", folder, "--quiet", "--json", *options]

    def evaluate(self, folder):
        """What a run gets right of the test images, and what where it sees each one's mirror image as well."""
        command = [self.binary, "eval", folder, "--flip", "--device", self.device, *self.chosen(self.device), "--json"]
        return [*command, *(["--precision", "bf16", "--batch-size", "500"] if self.device == "cuda" else [])]

    def reproduce(self, table, output, seconds, options=(), device=None):
        """A table of the paper, trained on from where it stands below the folder `output`."""
        device = device or self.device
        command = [self.binary, "reproduce", table, "--device", device, *self.chosen(device), *options]
        return [*command, "--time-limit", f"{max(1, int(seconds))}s", "--output", output, "--quiet", "--json"]

    def analyze(self, folder, output, options=(), device=None):
        """What a trained network's streams and filters do, written into the folder `output`."""
        device = device or self.device
        command = [self.binary, "analyze", folder, "--device", device, *self.chosen(device), *options]
        return [*command, "--output", output, "--json"]

    def bench(self, what, subject, batch, output, seconds, options=()):
        """`ops`, `layers MODEL`, `step MODEL`, `ladder OP` or `fusion MODEL`. The emulator counts instead."""
        command = [self.binary, "bench", what, *([subject] if subject else []), "--device", self.device]
        command += ["--batch", str(batch)] if batch else []
        command += [*options, *self.chosen(self.device)]
        command += ["--counters"] if self.device == "emu" else ["--precision", "bf16"]
        return [*command, "--time-limit", f"{max(1, int(seconds))}s", "--output", output]

    def once(self, case):
        """One case of `bench ops`, run a single time: for a profiler."""
        command = [self.binary, "bench", "ops", "--case", case, "--once", "--device", self.device]
        return [*command, *self.chosen(self.device), *(["--precision", "bf16"] if self.device == "cuda" else [])]

    def tune(self, model, batch, store, output, seconds, options=()):
        """Measures every choice of kernels for a training step, and adds the fastest to a file."""
        command = [self.binary, "bench", "tune", model, "--device", self.device, "--batch", str(batch), *options]
        command += ["--store", store, "--precision", "bf16"] if self.device == "cuda" else []
        return [*command, "--time-limit", f"{max(1, int(seconds))}s", "--output", output]


# ------------------------------------------------------------------------------------------------------- output


def read_json(path):
    """What a command wrote, or None where it wrote nothing that is whole."""
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def last_line(done):
    """The JSON object that a command printed last, or {}."""
    try:
        found = json.loads(done.stdout.strip().splitlines()[-1])
        return found if isinstance(found, dict) else {}
    except (IndexError, ValueError):
        return {}


def metrics(folder):
    """The lines of a run's metrics.jsonl; none where there is no such file yet. A line being written is left out."""
    lines = []
    try:
        with open(os.path.join(folder, "metrics.jsonl")) as file:
            for line in file:
                if line.endswith("\n"):
                    lines.append(json.loads(line))
    except (OSError, ValueError):
        pass
    return lines


def losses(folder):
    """The training loss of each line of a run's steps."""
    return [line["train_loss"] for line in metrics(folder) if line["kind"] == "step"]


def summed_up(folder, summary):
    """A run that has finished: what a training summary says, by the keys that results have."""
    keys = ("seed", "finished", "steps", "total_steps", "epochs", "seconds", "training_seconds", "load_seconds")
    found = {key: summary.get(key) for key in (*keys, "images_per_second", "synthetic")}
    return found | {"accuracy": summary.get("test_accuracy"), "run": os.path.basename(folder)}


def reached(lines, targets):
    """For each accuracy the first epoch whose evaluation came to it, or None.

    With the seconds that its steps and those before took, and the wall's until it was evaluated.
    """
    keys = ("epoch", "training_seconds", "seconds")
    epochs = [line for line in lines if line["kind"] == "epoch" and line.get("test_accuracy") is not None]
    firsts = {target: next((line for line in epochs if line["test_accuracy"] >= target), None) for target in targets}
    return {str(target): line and {key: line.get(key) for key in keys} for target, line in firsts.items()}


def flipped_accuracy(done):
    """What an evaluation came to with mirror images, or None."""
    try:
        return json.loads(done.stdout)["flipped_test_accuracy"]
    except (ValueError, KeyError, TypeError):
        return None


def epochs_of(lines):
    """The lines of whole epochs."""
    return [line for line in lines if line["kind"] == "epoch"]


def table(output, name):
    """What `rir reproduce` has written of a table: `cells`, each with `runs`; `deviations` from the paper; or None."""
    return read_json(os.path.join(output, f"{name}.json"))


def runs_of(found):
    """The runs of a table: `run` (its folder's name), `cell`, `state`, `steps`, `total_steps`, `test_accuracy`."""
    return [run for cell in (found or {}).get("cells", []) for run in cell["runs"]]


def run_folder(output, run):
    """Where `rir reproduce` keeps a run."""
    return os.path.join(output, "runs", run)


def checked(done):
    """A check's totals, its failures, and how near the others came to their limits, from its JSON; None without it."""
    try:
        found = json.loads(done.stdout)
        cases = found["cases"]
        used = [(c["error"] / c["limit"] if c["limit"] else 0.0, c["name"]) for c in cases if c["passed"]]
        return {
            "device": found["device"], "cases": len(cases), "passed": found["passed"], "failed": found["failed"],
            "operations": found["operations"], "operations_without_rows": found["operations_without_rows"],
            "failures": [c for c in cases if not c["passed"]][:50],
            # The row that uses most of its limit, and how much: 1 is all of it.
            "nearest_to_its_limit": max(used, default=None),
        }
    except (ValueError, KeyError, TypeError):
        return None


# A bench's file holds `rows`, and `not_run`: names of what did not fit its limit. Of a row the suite reads `name`,
# `median_us` (none where it failed), `tflop_s`, `share` (of the limit, 0 to 1), `kernels`; of a convolution's `layer`,
# the first that has it, and `direction`; of fusion's `bytes`. A whole step is the row named `step`. Tuning has a row for
# each candidate: `usual` runs unmeasured, `wins` is the fastest; also `columns` and `splits`.


def rows(bench):
    """The rows of a bench that were timed."""
    return [row for row in (bench or {}).get("rows", []) if row.get("median_us")]


def step_time(bench):
    """The row of a whole step, or None."""
    return next((row for row in rows(bench) if row["name"] == "step"), None)


def convolution_times(bench):
    """(layer, forward | data_grad | weight_grad) -> row."""
    return {(row["layer"], row["direction"]): row for row in rows(bench) if row.get("direction")}


def winners(bench):
    """(the fastest candidate, the usual one) of every convolution that was tuned."""
    candidates = rows(bench)
    usual = {row["node"]: row for row in candidates if row["usual"]}
    return [(row, usual[row["node"]]) for row in candidates if row["wins"] and row["node"] in usual]


def not_run(bench):
    """What a bench names as left out for want of time."""
    return [str(name) for name in (bench or {}).get("not_run", [])]


def forget(path):
    """Removes what an earlier command wrote there, so that it is not taken for a later one's."""
    if os.path.exists(path):
        os.remove(path)
