"""A stage at work: commands under a time limit, what came of them, and the file that records it after each."""

import datetime
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

import results

# How a command ended: its exit status (None where it was cut off), what it wrote, and how long it took.
Done = namedtuple("Done", "status stdout stderr seconds")

# A command is not begun with less time than this, in seconds.
LEAST = 3.0
# Of a failed command's output, the last characters are kept.
KEPT = 4000


class Work:
    """One stage.

    suite      the suite's settings: binary, device, scale, interpreters, data
    deadline   when the stage must have ended, by time.monotonic
    path       the result's file
    """

    def __init__(self, suite, stage, deadline, heading, path):
        self.suite, self.stage, self.deadline, self.path = suite, stage, deadline, path
        self.results, self.not_run, self.failed = {}, [], []
        self.heading = heading
        self.last = None  # how the last command ended, if it began
        self.folder = tempfile.TemporaryDirectory(prefix="rir-suite-")
        self.save()

    def save(self):
        """The stage's file as it stands."""
        lists = {"results": self.results, "not_run": self.not_run, "failed": self.failed}
        results.write(self.path, {"stage": self.stage, **self.heading, **lists})

    def temporary(self, name):
        """A path below a folder that goes when the stage ends."""
        return os.path.join(self.folder.name, name)

    def left(self):
        """Seconds until the stage must have ended."""
        return self.deadline - time.monotonic()

    def share(self, commands):
        """Seconds for the next of so many commands that are to share what is left."""
        return max(LEAST, self.left() / max(1, commands))

    def in_turn(self, tasks):
        """Calls each of [(weight, task)] with its share, by weight, of the seconds that are left then."""
        for i, (weight, task) in enumerate(tasks):
            task(max(LEAST, self.left() * weight / sum(w for w, _ in tasks[i:])))

    def skip(self, name, why):
        """Names what was not run."""
        self.not_run.append(f"{name}: {why}")
        print(f"  {name}: not run, {why}", flush=True)

    def fail(self, name, why, command=None, output=""):
        """Names what failed."""
        entry = {"name": name, "why": why}
        entry |= {"command": shlex.join(command)} if command else {}
        entry |= {"output": output[-KEPT:]} if output else {}
        self.failed.append(entry)
        print(f"  {name}: FAILED, {why}", flush=True)

    def run(self, name, command, limit=float("inf"), environment=None, watch=None, wrong=None, may_be_cut=False):
        """Runs a command; gives a Done where it ended with 0, else None, what happened being recorded.

        limit        seconds; a command that is still running then has failed, unless the stage's time ran out first
        watch        called with the process every few milliseconds
        wrong        exit status -> why it failed, for statuses that say more than "wrong"
        may_be_cut   to be slow is no failure of this command: at its limit it is named as not run
        """
        left, self.last = self.left(), None
        if left < LEAST:
            self.skip(name, "no time was left")
            return None
        print(f"  {name}", flush=True)
        self.last = done = execute(command, min(limit, left), {**os.environ, **(environment or {})}, watch)
        # A traceback or the driver's own words are on stderr; a list of failures is on stdout.
        output = done.stdout[-KEPT // 2 :] + done.stderr[-KEPT // 2 :]
        if done.status is None and limit >= left:
            self.skip(name, f"cut off after {done.seconds:.0f} s, when the stage's time was over")
        elif done.status is None and may_be_cut:
            self.skip(name, f"cut off after {done.seconds:.0f} s, its share of the time")
        elif done.status is None:
            self.fail(name, f"had not ended after {done.seconds:.0f} s", command, output)
        elif done.status != 0:
            why = (wrong or {}).get(done.status, f"exit status {done.status}")
            self.fail(name, why, command, output)
        self.save()
        return done if done.status == 0 else None


def execute(command, limit, environment, watch=None):
    """Runs a command in a process group of its own, which is ended whole when the limit is over or we are."""
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, start_new_session=True
            )
        except OSError as error:
            return Done(127, "", f"cannot start {command[0]}: {error.strerror}", 0.0)
        status = None
        try:
            while time.monotonic() - start < limit and process.poll() is None:
                if watch:
                    watch(process)
                time.sleep(0.005 if watch or time.monotonic() - start < 1 else 0.05)
            status = process.poll()
        finally:
            if status is None:
                end(process)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
        return Done(status, *texts, time.monotonic() - start)


def end(process):
    """Asks the process's group to end, and after five seconds ends it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(5)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def now():
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def own_command():
    """How the suite was called."""
    return shlex.join(["benches/gpu-suite.sh", *sys.argv[1:]])
