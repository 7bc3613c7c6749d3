#!/usr/bin/env python3
"""Tests of the GPU suite and of the report, with a program that only pretends to be rir. Needs nothing beyond Python.

    python3 benches/check_suite.py      # about half a minute; stage train has check_training.py
"""

import os
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "suite"), os.path.join(HERE, "peers")]

import report  # noqa: E402
import results  # noqa: E402
import stage_sanitize  # noqa: E402
import tensors  # noqa: E402
from pretender import CardCase, Case  # noqa: E402

REPORT = os.path.join(HERE, "report.py")


class Arguments(Case):
    def test_mistakes_are_one_sentence_and_status_2(self):
        mistakes = {
            ("polish",): "no stage 'polish'",
            ("--device", "tpu"): "no device 'tpu'",
            ("--device", "cuda:"): "no device 'cuda:'",
            ("--time-limit", "3"): "--time-limit is 3 seconds",
            ("--time-limit", "nan"): "--time-limit is nan seconds",
            ("--time-limit", "soon"): "--time-limit",
            ("--data", "/no/folder"): "no folder /no/folder",
            ("--binary", "/no/rir"): "no program at /no/rir",
            ("--faster",): "--faster",
            ("test",): "no driver was found",
        }
        for arguments, sentence in mistakes.items():
            done = self.suite(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(sentence, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertFalse(os.path.exists(self.path("out")))

    def test_help(self):
        done = self.suite("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("strip", done.stdout)


class Stages(Case):
    def test_a_failed_stage_is_recorded_and_the_next_goes_on(self):
        done = self.suite("kernels", "test", "--device", "emu", "--time-limit", "60", pretend="check")
        self.assertEqual(done.returncode, 1, done.stdout)
        test, kernels = self.stage("test"), self.stage("kernels")
        self.assertEqual(test["failed"][0]["why"], "a row failed")
        self.assertEqual(test["results"]["check"]["failures"][0]["name"], "sgd/n3")
        self.assertEqual((test["commit"], test["kernels_hash"], test["card"]), ("abc", "0123456789abcdef", "emu"))
        self.assertEqual(kernels["failed"], [])
        self.assertEqual(len(kernels["results"]["layers"]), 4)
        self.assertTrue(any("conv2d/n9" in text for text in kernels["not_run"]))
        self.assertTrue(any("/no/python" in text for text in kernels["not_run"]))

    def test_output_of_what_broke_is_kept(self):
        done = self.suite("train", "--device", "emu", "--time-limit", "30", pretend="train")
        self.assertEqual(done.returncode, 1)
        failed = self.stage("train")["failed"][0]
        self.assertEqual(failed["why"], "exit status 1")
        self.assertIn("it broke", failed["output"])

    def test_the_time_limit_holds_where_a_command_hangs(self):
        start = time.monotonic()
        self.suite("kernels", "--device", "emu", "--time-limit", "13", pretend="hang")
        self.assertLess(time.monotonic() - start, 20)
        self.assertTrue(any("cut off" in text for text in self.stage("kernels")["not_run"]))
        self.assertTrue(any("no time was left" in text for text in self.stage("kernels")["not_run"]))


class OnACard(CardCase):
    """Every stage."""

    def test_every_stage(self):
        done = self.run_stages()
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertEqual(sorted(results.newest(self.path("out"))), sorted(results.STAGES))
        test = self.stage("test", "cuda")
        heading = {"card": "NVIDIA Made Up 1", "driver": "580.1", "cuda": "13.0", "commit": "abc"}
        self.assertEqual({key: test[key] for key in heading}, heading)
        self.assertEqual(test["results"]["losses bf16"]["first_off_by"], 0)
        self.assertEqual(test["results"]["resumed run"], {"tensors": 1, "differing": 0})
        runs = self.stage("sanitize", "cuda")["results"]["runs"]
        self.assertEqual({run["tool"] for run in runs}, set(stage_sanitize.TOOLS))
        self.assertTrue(all(run["passed"] and run["summary"] == "ERROR SUMMARY: 0 errors" for run in runs))
        tuned = self.stage("tune", "cuda")["results"]["tune"]
        self.assertEqual([entry["batch"] for entry in tuned], [500, 128, 1024, 528])
        kernels = self.stage("kernels", "cuda")["results"]
        # What was tuned is taken from then on.
        self.assertEqual(kernels["layers"][0]["ours"]["rows"][0]["choices"], "made-up-1-0123456789ab.toml")
        self.assertEqual([entry["batch"] for entry in kernels["layers"]], [500, 500, 528, 528])
        self.assertEqual(kernels["layers"][0]["card"][0]["temperature.gpu"], "50")
        step = self.stage("step", "cuda")["results"]["step"]
        self.assertEqual({entry["batch"] for entry in step}, {128, 500, 528, 1024})
        # It trains on CIFAR or not at all: check_training.py gives it some.
        self.assertIn("it needs CIFAR-10", self.stage("train", "cuda")["not_run"][0])
        # Of the heaviest operations first: two nodes of 3 ms are more than one of 5.
        cases = self.stage("profile", "cuda")["results"]["cases"]
        self.assertEqual([case["case"] for case in cases], ["conv2d/n2", "sgd/n3", "relu/n1"])
        first, second = cases[0]["kernels"]
        self.assertEqual((first["kernel"], second["kernel"]), ("conv2d_mma", "finalise"))
        self.assertEqual(first["metrics"]["Occupancy"], {"Achieved Occupancy": [18.75, "%"]})
        self.assertEqual(first["metrics"]["GPU Speed Of Light Throughput"]["Duration"], [1234.5, "us"])
        # Also by a later call.
        self.assertEqual(self.run_stages("kernels").returncode, 0)
        later = self.stage("kernels", "cuda")["results"]["layers"][0]["ours"]["rows"][0]
        self.assertEqual(later["choices"], "made-up-1-0123456789ab.toml")

    def test_nothing_is_taken_that_was_not_tuned_here(self):
        self.assertEqual(self.run_stages("kernels").returncode, 0)
        self.assertNotIn("choices", self.stage("kernels", "cuda")["results"]["layers"][0]["ours"]["rows"][0])

    def test_a_profiler_that_counts_nothing_fails(self):
        self.assertEqual(self.run_stages("kernels", "profile", pretend="nothing").returncode, 1)
        self.assertEqual(self.stage("profile", "cuda")["failed"][0]["why"], "it counted nothing")

    def test_counters_that_are_kept_from_the_user_are_no_failure(self):
        self.assertEqual(self.run_stages("kernels", "profile", pretend="forbidden").returncode, 0)
        profile = self.stage("profile", "cuda")
        self.assertEqual(profile["failed"], [])
        self.assertEqual(len(profile["not_run"]), 1)
        self.assertIn("no permission to read the counters", profile["not_run"][0])

    def test_wrong_losses_and_bits_fail(self):
        for pretend, names in (
            ("loss", {"losses f32"}),
            ("bits", {"same seed twice, f32", "same seed twice, bf16", "resumed run"}),
        ):
            self.assertEqual(self.run_stages("test", pretend=pretend).returncode, 1)
            self.assertEqual({entry["name"] for entry in self.stage("test", "cuda")["failed"]}, names)

    def test_what_a_sanitizer_finds_fails(self):
        self.assertEqual(self.run_stages("sanitize", pretend="race").returncode, 1)
        failed = self.stage("sanitize", "cuda")["failed"]
        self.assertEqual({entry["why"] for entry in failed}, {"racecheck found errors"})
        self.assertIn("1 errors", failed[0]["output"])


def card_result(stage, found, date="2026-01-02T03:04:05+00:00", **changes):
    """A made-up result of a card."""
    result = {"stage": stage, "date": date, "device": "cuda", "card": "NVIDIA Made Up 1", "driver": "580.1"}
    result |= {"cuda": "13.0", "commit": "abc", "kernels_hash": "0123", "command": "x"}
    return result | {"results": found, "not_run": [], "failed": []} | changes


class Stale(Case):
    def write(self, stage, **changes):
        result = card_result(stage, {}, **changes)
        name = results.file_name(stage, result["card"], result["date"])
        results.write(os.path.join(self.path("out"), name), result)

    def test_lists_what_is_missing_and_what_is_of_other_kernels(self):
        for stage in ("test", "sanitize", "tune", "step", "profile", "train"):
            self.write(stage, kernels_hash="0123456789abcdef")
        self.write("step", kernels_hash="fedc", date="2026-01-03T00:00:00+00:00")
        # An older result of the right kernels does not help, nor does a rehearsal.
        self.write("kernels", kernels_hash="0123456789abcdef", device="emu")
        done = self.suite("--stale")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual([line.split(":")[0] for line in done.stdout.splitlines()], ["kernels", "step"])
        self.assertIn("fedc", done.stdout)
        self.write("step", kernels_hash="0123456789abcdef", date="2026-01-04T00:00:00+00:00")
        self.write("kernels", kernels_hash="0123456789abcdef", date="2026-01-04T00:00:00+00:00")
        self.assertEqual(self.suite("--stale").returncode, 0)

    def test_names_of_files(self):
        name = results.file_name("step", "NVIDIA H100 80GB HBM3", "2026-11-24T01:02:03+00:00")
        self.assertEqual(name, "step-h100-80gb-hbm3-2026-11-24.json")


class Report(Case):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("out"))
        self.names = list(report.blocks(self.path("out")))
        blocks = "".join(f"<!-- results:{name} -->\n<!-- end -->\n" for name in self.names)
        self.write_readme("before\n" + blocks + "after\n")

    def write_readme(self, text):
        with open(self.path("README.md"), "w") as file:
            file.write(text)

    def report(self, *arguments):
        places = ["--results", self.path("out"), "--readme", self.path("README.md")]
        command = [sys.executable, REPORT, *places, *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def rewritten(self):
        self.assertEqual(self.report().returncode, 0)
        with open(self.path("README.md")) as file:
            return file.read()

    def add(self, stage, found, **changes):
        result = card_result(stage, found, **changes)
        results.write(os.path.join(self.path("out"), results.file_name(stage, "Made Up 1", result["date"])), result)

    def test_without_results_every_block_says_so(self):
        self.assertEqual(self.report("--check").returncode, 1)
        text = self.rewritten()
        self.assertEqual(text.count("on a card yet"), len(self.names))
        self.assertTrue(text.startswith("before\n") and text.endswith("after\n"))
        self.assertEqual(self.report("--check").returncode, 0)
        self.assertEqual(self.rewritten(), text)

    def test_figures(self):
        rows = [{"form": "eager", "images_per_second": 20000.0}, {"form": "graphs", "images_per_second": 25000.0}]
        step = {"name": "step", "bound_us": 8000.0}
        part = {"name": "sgd/n3", "operation": "sgd", "count": 2, "median_us": 50.0, "bound_us": 40.0}
        rounds = [
            {"batch": 500, "ours": {"rows": [step | {"median_us": us}, part]}, "torch": {"rows": rows}, "jax": None}
            for us in (9000.0, 11000.0)
        ]
        parts = {"rows": [{"name": "fused", "median_us": 8000.0, "bytes": 2**31}]}
        self.add("step", {"step": rounds, "fusion": parts})
        ours = {"name": "conv2d/n500", "layer": "b", "direction": "forward", "median_us": 100.0, "share": 0.625}
        theirs = {"name": "a", "same_as": ["b"], "pass": "forward", "median_us": 150.0}
        # One measurement for the layers b and c, as `rir bench layers` writes it.
        equal = [ours | {"tflop_s": 612.4, "layer": layer, "name": f"{layer}/forward"} for layer in "bc"]
        entry = {"batch": 500, "ours": {"rows": equal}, "torch": {"rows": [theirs]}}
        rung = {"name": "n1", "median_us": 5.0, "kernels": "naive"}
        update = {"name": "two_stream_update/n1", "median_us": 20.0, "gb_s": 2500.4, "share": 0.9, "direction": None}
        self.add("kernels", {"layers": [entry], "ladder": {"rows": [rung]}, "ops": {"rows": [ours, update]}})
        speed, memory = ({"Memory Throughput": [value, unit]} for value, unit in ((81.0, "%"), (2.4, "Tbyte/s")))
        sections = {report.SPEED: {"Duration": [9.5, "us"]} | speed, "Memory Workload Analysis": memory}
        counted = {"kernel": "k", "metrics": sections | {"Occupancy": {"Achieved Occupancy": [18.7, "%"]}}}
        self.add("profile", {"cases": [{"case": "conv2d/n500", "kernels": [counted]}]})
        predicted = {"layer": "b", "direction": "forward", "us": 90.0}
        results.write(self.path(f"out/{report.PREDICTED}"), {"rows": [predicted]})
        usual = ours | {"node": "n", "kernels": "mma", "usual": True, "wins": False, "median_us": 150.0}
        faster = usual | {"kernels": "wgmma-halo", "columns": 96, "usual": False, "wins": True, "median_us": 100.0}
        other = usual | {"node": "m", "wins": True, "direction": "weight_grad", "splits": 8}
        self.add("tune", {"tune": [{"batch": 500, "ours": {"rows": [usual, faster, other]}}]})
        self.add("test", {"check": {"passed": 9, "cases": 10}}, failed=[{"name": "check"}], not_run=["resume"])
        text = self.rewritten()
        # 500 images in the median of 9 and 11 ms (of the rates), beside the faster form.
        self.assertIn("| 500 | 50,505 | 20,000 | 25,000 | – | – | – | 62,500 | 2.02 |", text)
        self.assertIn("| `b` | forward | 90.0 | 100.0 | 612 | 150.0 | 1.50 | 62 |", text)
        self.assertIn("| `sgd` | 2 | 100 | 100.0 | 80 | 80 |", text)
        self.assertIn("| `two_stream_update/n1` | 20.0 | 2,500 | 90 |", text)
        self.assertIn("| `conv2d/n500` | `k` | 9.5 us | – | 81.0 % | – | – | – | 18.7 % | – |", text)
        self.assertNotIn("| `c` |", text)
        self.assertIn("| fused | 8.00 | 2.00 |", text)
        self.assertIn("| `b` | forward | `wgmma-halo`, 96 columns | 100.0 | `mma` | 150.0 | 1.50 | 62 |", text)
        self.assertIn("| `b` | weight grad | `mma`, 8 parts | 150.0 | `mma`, 8 parts | 150.0 | 1.00 | 62 |", text)
        self.assertIn("1 of 2 convolutions faster by another kernel", text)
        self.assertIn("| `n1` | `naive` | 5.0 | – | – |", text)
        self.assertIn("9 of 10 rows; 1 failed, 1 not run", text)
        self.assertIn("(benches/results/step-made-up-1-2026-01-02.json)", text)
        self.assertEqual(self.rewritten(), text)

    def test_predictions_stand_alone_until_something_is_measured(self):
        row = {"layer": "stem", "direction": "weight_grad", "us": 12.34}
        results.write(self.path(f"out/{report.PREDICTED}"), {"rows": [row]})
        text = self.rewritten()
        self.assertIn("| `stem` | weight grad | 12.3 | – | – | – | – | – |", text)
        self.assertIn("`benches/gpu-suite.sh kernels` does it", text)

    def test_the_newest_of_a_stage_counts_and_no_rehearsal(self):
        self.add("test", {"check": {"passed": 1, "cases": 1}})
        self.add("test", {"check": {"passed": 2, "cases": 2}}, date="2026-02-02T00:00:00+00:00")
        self.add("test", {"check": {"passed": 3, "cases": 3}}, date="2026-03-03T00:00:00+00:00", device="emu")
        self.assertIn("2 of 2 rows", self.rewritten())

    def test_other_files_are_passed_over_and_damaged_ones_named(self):
        results.write(self.path("out/cpu.json"), {"speed": 1})
        self.assertEqual(self.report().returncode, 0)
        results.write(self.path("out/test-x.json"), {"stage": "test"})
        self.assertIn("test-x.json lacks", self.report().stderr)
        with open(self.path("out/test-x.json"), "w") as file:
            file.write("{")
        self.assertIn("test-x.json is no JSON", self.report().stderr)

    def test_broken_blocks(self):
        for text, sentence in (
            ("<!-- results:step -->\n", "without its <!-- end -->"),
            ("<!-- results:speed -->\n<!-- end -->\n", "no block 'speed'"),
            ("<!-- results:step -->\n<!-- results:layers -->\n<!-- end -->\n", "end -->"),
        ):
            self.write_readme(text)
            done = self.report()
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(sentence, done.stderr)


class Safetensors(Case):
    def test_what_is_written_is_read(self):
        path = self.path("x.safetensors")
        one = {"a.b": tensors.Tensor("F32", (2, 1), bytes(range(8))), "c": tensors.Tensor("I32", (), bytes(4))}
        tensors.save(path, one)
        self.assertEqual(tensors.load(path), one)
        with open(path, "rb") as file:
            data = file.read()
        for length in (0, 5, 30, len(data) - 1):
            with open(path, "wb") as file:
                file.write(data[:length])
            with self.assertRaises(ValueError):
                tensors.load(path)


if __name__ == "__main__":
    unittest.main()
