"""What the tests of the suite run in place of rir, a card and its tools: programs that only pretend."""

import os
import shutil
import subprocess
import tempfile
import unittest

import results

HERE = os.path.dirname(os.path.abspath(__file__))
SUITE = os.path.join(HERE, "gpu-suite.sh")

# Answers as rir does where the suite asks it; PRETEND says what is to go wrong.
PRETENDER = """#!/usr/bin/env python3
import json, os, signal, struct, sys, time
CONFIG = '''
version = "0"
data = "/data/cifar-10-batches-bin"
data-digest = ""
image = [32, 32]
device = "cuda"
precision = "bf16"
fuse = "all"
seed = 0
[length]
epochs = 1
[recipe]
name = "fast"
epochs = 1
batch-size = 8
learning-rate = 0.1
momentum = 0.9
weight-decay = 0.1
preprocess = "none"
[recipe.schedule]
kind = "cosine"
[recipe.augment]
pad = 2
flip = "alternating"
cutout = 4
[model]
name = "rir-18-wide"
family = "rir"
stem = 8
[[model.groups]]
width = 8
blocks = 1
[[model.groups]]
width = 16
blocks = 1
stride = 2
[[model.groups]]
width = 32
blocks = 1
stride = 2
'''
command, wrong = sys.argv[1], os.environ.get("PRETEND", "")
after = lambda option: sys.argv[sys.argv.index(option) + 1]
if command == "devices":
    card = os.environ.get("PRETEND_CARD")
    found = {"cuda": [{"name": card}] if card else None, "cuda_error": None if card else "no driver was found"}
    print(json.dumps(found | {"emulator": True, "commit": "abc", "kernels_hash": "0123456789abcdef"}))
elif command == "check":
    case = {"name": "sgd/n3", "error": None if wrong == "check" else 1e-9, "limit": 1e-7, "passed": wrong != "check",
            "failure": "NaN" if wrong == "check" else None}
    failed = int(wrong == "check")
    print(json.dumps({"device": "emu", "cases": [case], "passed": 1 - failed, "failed": failed, "operations": 1,
                      "operations_without_rows": []}))
    sys.exit(7 if wrong == "check" else 0)
elif command == "bench":
    if wrong == "hang":
        time.sleep(600)
    row = {"name": "conv2d/n2", "layer": "group1.block1.layer1", "direction": "forward", "median_us": 10.0}
    usual = row | {"node": "n", "kernels": "mma", "usual": True, "wins": False, "median_us": 15.0}
    faster = usual | {"kernels": "wgmma-halo", "columns": 96, "usual": False, "wins": True, "median_us": 10.0}
    ops = [{"name": "sgd/n3", "median_us": 5000.0}, {"name": "conv2d/n2", "median_us": 3000.0, "count": 2},
           {"name": "relu/n1", "median_us": 2.0}, {"name": "add/n1", "median_us": 1.0}]
    step = {"name": "step", "median_us": 8000.0}
    rows = {"layers": [row], "tune": [usual, faster], "ops": ops}.get(sys.argv[2], [step])
    if "--once" in sys.argv:
        sys.exit(after("--case") not in [row["name"] for row in ops])
    if sys.argv[2] == "tune" and "--store" in sys.argv:
        os.makedirs(os.path.dirname(after("--store")), exist_ok=True)
        open(after("--store"), "w").close()
    elif "--choices" in sys.argv and after("--choices") != "none":
        rows[0]["choices"] = os.path.basename(after("--choices"))
    json.dump({"benchmark": sys.argv[2], "rows": rows, "not_run": ["conv2d/n9"]}, open(after("--output"), "w"))
elif command == "train" and wrong == "train":
    sys.exit("error: it broke")
elif command == "train":
    resumed = "--resume" in sys.argv
    folder = after("--resume" if resumed else "--output")
    os.makedirs(folder, exist_ok=True)
    open(folder + "/config.toml", "w").write(CONFIG)
    device = "cuda" if resumed else after("--device")
    seed = int(after("--seed")) if "--seed" in sys.argv else 0
    off = 1.001 if wrong == "loss" and device != "cpu" else 1.0 + 0.01 * seed
    loss = lambda step: {"kind": "step", "step": step, "train_loss": 2.0 * off / step}
    epoch = {"kind": "epoch", "epoch": 1, "step": 8, "test_accuracy": 94.5 + seed, "training_seconds": 8.0 + seed,
             "seconds": 10.0 + seed}
    summary = {"finished": True, "stopped": None, "steps": 8, "total_steps": 8, "seed": seed, "model": "rir-18-wide",
               "recipe": "fast", "test_accuracy": 94.5 + seed, "training_seconds": 8.0 + seed, "load_seconds": 1.0}
    interrupted = folder.endswith("parts") and not resumed
    if interrupted:  # as soon as there are metrics
        signal.signal(signal.SIGINT, lambda *_: (print(json.dumps(summary | {"stopped": "interrupted"})), sys.exit(0)))
    with open(folder + "/metrics.jsonl", "w") as file:
        for step in range(1, 9):
            print(json.dumps(loss(step)), file=file)
        print(json.dumps(epoch), file=file)
    value = bytes([0, 0, 128, int(wrong == "bits" and (resumed or "second" in folder))])
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    with open(folder + "/checkpoint.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + value)
    if interrupted:
        time.sleep(20)
    print(json.dumps(summary))
elif command == "eval" and "--flip" in sys.argv:
    print(json.dumps({"test_accuracy": 94.5, "flipped_test_accuracy": 94.75}))
elif command == "reproduce":
    path = after("--output") + "/" + sys.argv[2] + ".json"
    asked = [sys.argv[i + 1] for i, word in enumerate(sys.argv) if word == "--only"]
    os.makedirs(after("--output"), exist_ok=True)
    if os.path.exists(path):
        table = json.load(open(path))
    else:
        names = ["rir-18-wide", "resnet-18-wide", "resnet-init-18-wide", "cnn-18-wide", "rir-32"]
        cells = [{"row": "RiR", "column": "18-wide", "model": name, "n": 0, "mean": None, "half_interval": None,
                  "published": None, "runs": [{"run": name + "-s0", "cell": name, "state": "to-do", "steps": 0,
                  "total_steps": 16400}]} for name in names]
        table = {"table": sys.argv[2], "title": "The table", "rows": "family", "synthetic": False, "data": sys.argv[2],
                 "data_digest": "d" * 64, "precision": "bf16", "is_of_paper": True, "is_comparable": True,
                 "deviations": [], "cells": cells}
    for cell in table["cells"]:
        if not asked or cell["model"] in asked:
            cell["runs"][0].update({"state": "begun", "steps": 410} if wrong == "short" else {"state": "finished"})
    json.dump(table, open(path, "w"))
elif command == "analyze":
    os.makedirs(after("--output"))
    json.dump({"analyzed": sys.argv[2]}, open(after("--output") + "/analysis.json", "w"))
else:
    sys.exit("error: this is only a pretender")
"""

# A Python that has PyTorch and airbench, as far as the suite can tell.
PRETENDED_PYTHON = """#!/usr/bin/env python3
import json, os, sys
after = lambda option: sys.argv[sys.argv.index(option) + 1]
script = os.path.basename(sys.argv[1])
if script == "airbench_times.py":
    spread = {"mean": 95.0, "deviation": 0.1}
    summary = {key: spread for key in ("training_seconds", "accuracy", "flipped_accuracy")}
    runs = [{}] * int(after("--runs"))
    rows = [{"name": name, "runs": runs, "summary": summary} for name in ("airbench95", "airbench96")]
    result = {"rows": rows, "not_run": [], "failed": []}
elif script == "torch_train.py":
    seed, off = int(after("--seed")), 1.5 if os.environ["PRETEND"] == "drift" else 1.0
    loss = 2.0 * off * (1.0 + 0.01 * seed)
    lines = [{"kind": "step", "step": step, "train_loss": loss / step} for step in range(1, 9)]
    lines.append({"kind": "epoch", "step": 8, "test_accuracy": 94.5 + seed})
    runs = [{"seed": seed, "finished": True, "lines": lines}]
    result = {"recipe": {}, "model": {}, "precision": "bf16", "runs": runs, "versions": {}}
else:
    sys.exit("-c" not in sys.argv)
json.dump(result, open(after("--json"), "w"))
"""



class Case(unittest.TestCase):
    """A folder, and a pretender in it."""

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.rir = self.path("rir")
        with open(self.rir, "w") as file:
            file.write(PRETENDER)
        os.chmod(self.rir, 0o755)

    def path(self, name):
        return os.path.join(self.folder, name)

    def suite(self, *arguments, pretend="", **environment):
        """Runs the suite; neither peer is there."""
        absent = {"PYTHON": "/no/python", "JAX_PYTHON": "/no/python", "CUDA_HOME": "/no/cuda"}
        environment = {**os.environ, **absent, "PRETEND": pretend, **environment}
        command = [SUITE, "--binary", self.rir, "--output", self.path("out"), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    def stage(self, name, device="emu"):
        """What a stage wrote."""
        return results.newest(self.path("out"), device)[name][1]


# As their namesakes print; both fail on arguments that they do not know.
NVIDIA_SMI = """#!/bin/sh
case "$*" in
"") echo "| NVIDIA-SMI 580.1    Driver Version: 580.1    CUDA Version: 13.0     |" ;;
--query-gpu=name,*-i\ 0) echo "NVIDIA Made Up 1, 580.1, 81559 MiB" ;;
--query-gpu=clocks.sm,*-i\ 0) echo "1980 MHz, 2619 MHz, 1980 MHz, 500.00 W, 700.00 W, 50, 99 %, P0" ;;
*) exit 1 ;;
esac
"""
SANITIZER = """#!/bin/sh
[ "$1 $3 $5" = "--tool --error-exitcode --print-limit" ] && [ "$7" = "--log-file" ] || exit 1
tool=$2 log=$8
shift 8
"$@" || exit 1
errors=0
[ "$tool/$PRETEND" = "racecheck/race" ] && errors=1
echo "========= ERROR SUMMARY: $errors errors" >"$log"
[ "$errors" = 0 ] || exit 86
"""


NCU = """#!/bin/sh
[ "$1 $2 $3 $4" = "--clock-control none --cache-control none" ] || exit 1
while [ "$1" != "--log-file" ]; do shift; done
log=$2
shift 2
"$@" || exit 1
[ "$PRETEND" = "nothing" ] && exit 0
[ "$PRETEND" = "forbidden" ] && echo "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission" >"$log" && exit 1
cat >"$log" <<END
==PROF== Connected
"ID","Process ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value","Rule Name"
"0","7","conv2d_mma(Params)","GPU Speed Of Light Throughput","Duration","us","1,234.50",""
"0","7","conv2d_mma(Params)","Occupancy","Achieved Occupancy","%","18.75",""
"0","7","conv2d_mma(Params)","Occupancy","","","","a rule"
"1","7","finalise","GPU Speed Of Light Throughput","Duration","us","2",""
END
"""


class CardCase(Case):
    """With a driver, a card and a toolkit that are pretended too."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("bin"))
        for name, text in (("nvidia-smi", NVIDIA_SMI), ("compute-sanitizer", SANITIZER), ("ncu", NCU)):
            with open(self.path(f"bin/{name}"), "w") as file:
                file.write(text)
            os.chmod(self.path(f"bin/{name}"), 0o755)

    def run_stages(self, *arguments, pretend="", **environment):
        environment |= {"PRETEND_CARD": "Made Up 1", "PATH": f"{self.path('bin')}:{os.environ['PATH']}"}
        environment["CUDA_VISIBLE_DEVICES"] = ""
        return self.suite(*arguments, "--time-limit", "400", pretend=pretend, **environment)
