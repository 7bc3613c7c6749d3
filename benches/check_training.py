#!/usr/bin/env python3
"""Tests of what holds our training to other programs': recipes as the peers read them, the comparison of curves, stage
`train`, and what the report makes of it. Needs nothing beyond Python.

    python3 benches/check_training.py      # seconds
"""

import copy
import glob
import os
import random
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "suite"), os.path.join(HERE, "peers")]

import airbench_times  # noqa: E402
import compare_curves  # noqa: E402
import recipe as recipes  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
from pretender import PRETENDED_PYTHON, CardCase  # noqa: E402


class Recipes(unittest.TestCase):
    def test_the_small_reader_reads_what_the_library_reads(self):
        try:
            import tomllib
        except ImportError:
            self.skipTest("this Python has no tomllib to compare with")
        texts = ["a = 'x # y'  # z\nb = [1, 2.5]\nc = true\n[t]\nd = -1e-3\n[[t.u]]\ne = \"f\"\n[[t.u]]\ne = \"\"\n"]
        for path in glob.glob(os.path.join(recipes.RECIPES, "*.toml")):
            with open(path) as file:
                texts.append(file.read())
        self.assertGreater(len(texts), 3)
        for text in texts:
            self.assertEqual(recipes.parse_toml(text), tomllib.loads(text))
        with self.assertRaisesRegex(ValueError, "line 2"):
            recipes.parse_toml("a = 1\nb = what\n")

    def test_every_built_in_recipe_is_understood(self):
        for path in glob.glob(os.path.join(recipes.RECIPES, "*.toml")):
            recipe = recipes.read_recipe(os.path.basename(path)[: -len(".toml")])
            self.assertGreater(recipes.rate(recipe, 0, 100), 0)

    def test_what_is_not_known_is_refused_by_name(self):
        paper = recipes.read_recipe("paper")
        for change, sentence in (
            ({"warp": 1}, "'warp'"), ({"schedule": {"kind": "wave"}}, "'wave'"), ({"preprocess": "zca"}, "'zca'"),
            ({"augment": {"pad": 4, "flip": "often"}}, "augment.flip = 'often'"),
            ({"augment": {"pad": 4, "flip": True, "mixup": 1}}, "'mixup'"), ({"lookahead": {"every": 5}}, "'share'"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                recipes.check_recipe({**paper, **change})
        with self.assertRaisesRegex(ValueError, "no recipe 'papr'; the built-in ones are .*paper, "):
            recipes.read_recipe("papr")
        with self.assertRaisesRegex(ValueError, "lacks the key 'momentum'"):
            recipes.check_recipe({key: value for key, value in paper.items() if key != "momentum"})

    def test_schedules_are_those_of_the_engine(self):
        """The same corners as in the tests of src/optim/schedule.rs."""
        paper = {"kind": "steps", "drops": [84, 124], "factor": 0.1}
        factors = [recipes.factor(paper, step, 16_400, 164) for step in (0, 8_399, 8_400, 12_399, 12_400)]
        for factor, expected in zip(factors, (1.0, 1.0, 0.1, 0.1, 0.01)):
            self.assertAlmostEqual(factor, expected, places=12)
        self.assertEqual([recipes.factor(paper, step, 10, 164) == 1.0 for step in (4, 5)], [True, False])
        cycle = {"kind": "one-cycle", "warmup": 0.25, "start": 0.2, "end": 0.02}
        for step, expected in ((0, 0.2), (25, 1.0), (100, 0.02)):
            self.assertAlmostEqual(recipes.factor(cycle, step, 100, 1), expected, places=12)
        self.assertAlmostEqual(recipes.factor({"kind": "cosine"}, 50, 100, 1), 0.5, places=12)

    def test_lines_and_lookahead_come_when_they_are_due(self):
        self.assertEqual([recipes.line_every(steps) for steps in (1, 20, 21, 100)], [1, 1, 2, 5])
        self.assertEqual(recipes.steps_of({"epochs": 3}, 1003, 100), (10, 30))
        self.assertEqual(recipes.steps_of({"steps": 7}, 1003, 100), (10, 7))
        lookahead = {"every": 5, "share": 0.25}
        shares = [recipes.lookahead_share(lookahead, step, 12) for step in range(1, 13)]
        self.assertEqual([step for step, share in enumerate(shares, start=1) if share], [5, 10, 12])
        self.assertAlmostEqual(shares[4], 1 - 0.75 * (5 / 12) ** 3, places=12)
        self.assertEqual(shares[11], 0.25)
        self.assertIsNone(recipes.lookahead_share({}, 5, 10))


def noisy_runs(seeds, shift=0.0, drift=0.0, count=40):
    """Made-up runs: a falling curve, a seed's own offset, and noise, each of deviation 0.01."""
    runs = []
    for seed in seeds:
        rng = random.Random(seed)
        own = rng.gauss(0, 0.01) + shift
        losses = [2.0 / (1 + step / 10) + own + drift * step / count + rng.gauss(0, 0.01) for step in range(count)]
        lines = [{"kind": "step", "step": 5 * step + 5, "train_loss": loss} for step, loss in enumerate(losses)]
        accuracy = {"kind": "epoch", "step": 5 * count, "test_accuracy": 90 - 10 * own + rng.gauss(0, 0.1)}
        runs.append(([*lines, accuracy], {"recipe": {"learning-rate": 0.1}, "model": {}, "precision": "f32"}))
    return runs


class Curves(unittest.TestCase):
    def test_quantiles(self):
        # From tables of Student's t, both sides.
        for confidence, freedom, expected in ((0.99, 4, 4.604), (0.99, 2, 9.925), (0.95, 10, 2.228), (0.99, 30, 2.750)):
            self.assertAlmostEqual(compare_curves.t_quantile(confidence, freedom), expected, places=3)
        self.assertEqual([compare_curves.allowed_outside(count, 0.01) for count in (1, 10, 20)], [0, 1, 2])

    def test_seeds_of_one_recipe_agree_about_as_often_as_said(self):
        pairs = [(noisy_runs(range(6 * i, 6 * i + 3)), noisy_runs(range(6 * i + 3, 6 * i + 6))) for i in range(60)]
        disagreeing = sum(not compare_curves.compare(*pair)["agree"] for pair in pairs)
        # Three in a hundred are expected, 1.8; nine or more come once in 20,000 such tests.
        self.assertLess(disagreeing, 9)

    def test_other_curves_disagree(self):
        ours = noisy_runs((1, 2, 3))
        # Ten deviations of a seed: at every step, and only toward the end.
        for changes, part in (({"shift": 0.1}, "mean_loss"), ({"drift": 0.2}, "mean_loss")):
            found = compare_curves.compare(ours, noisy_runs((4, 5, 6), **changes))
            self.assertFalse(found["agree"])
            self.assertFalse(found[part]["within"])
            self.assertGreater(found["outside"], found["allowed_outside"])
        self.assertFalse(compare_curves.compare(ours, noisy_runs((4, 5, 6), shift=0.1))["test_accuracy"]["within"])

    def test_what_is_no_number_disagrees(self):
        for place in (3, -1):
            ours, peer = noisy_runs((1, 2, 3)), copy.deepcopy(noisy_runs((1, 2, 3)))
            self.assertTrue(compare_curves.compare(ours, peer)["agree"])
            key = "train_loss" if place == 3 else "test_accuracy"
            peer[0][0][place][key] = None
            self.assertFalse(compare_curves.compare(ours, peer)["agree"])

    def test_what_cannot_be_compared_is_said(self):
        for ours, peer, sentence in (
            (noisy_runs((1,)), noisy_runs((2, 3)), "at least two seeds"),
            (noisy_runs((1, 2)), [(lines[1::4], what) for lines, what in noisy_runs((2, 3))], "differ in batch size"),
        ):
            for lines, _ in peer:
                lines[:] = [{**line, "step": line["step"] + 1} if "batch" in sentence else line for line in lines]
            with self.assertRaisesRegex(ValueError, sentence):
                compare_curves.compare(ours, peer)

    def test_differing_settings_are_named(self):
        ours, peer = noisy_runs((1, 2)), noisy_runs((1, 2))
        peer[0][1]["recipe"] = {"learning-rate": 0.2}
        self.assertEqual(compare_curves.compare(ours, peer)["differing_settings"], ["learning-rate (0.1 against 0.2)"])

    def test_a_run_cut_short_is_compared_as_far_as_it_came(self):
        short = [(lines[:20] + [{**lines[-1], "step": 200}], what) for lines, what in noisy_runs((4, 5, 6))]
        found = compare_curves.compare(noisy_runs((1, 2, 3)), short)
        self.assertEqual(found["steps"][-1], 100)


class Airbench(unittest.TestCase):
    # As version 0.1.8 prints its rows; the titles only stand over the first run's.
    ROW = "|  {}  |  {}  |      1.2  |     0.9  |  0.9401  |               |            {}  |"

    def test_seconds_are_those_of_the_last_rows(self):
        rows = [self.ROW.format("     1", "    0", "0.7000"), self.ROW.format("      ", "   14", "10.1000"), "-" * 80]
        rows.append(self.ROW.format("      ", " eval", "10.4000"))
        self.assertEqual(airbench_times.seconds_of("\n".join(rows)), (10.1, 10.4))
        with self.assertRaisesRegex(ValueError, "table"):
            airbench_times.seconds_of("\n".join(rows[:2]))


class Train(CardCase):
    def setUp(self):
        super().setUp()
        self.python = self.path("bin/python-with-torch")
        with open(self.python, "w") as file:
            file.write(PRETENDED_PYTHON)
        os.chmod(self.python, 0o755)
        os.makedirs(self.path("data/cifar-100-binary"))

    def train(self, pretend="", **environment):
        """Runs the stage on a card, with CIFAR and the peers."""
        environment = {"PYTHON": self.python, **environment}
        return self.run_stages("train", "--data", self.path("data"), pretend=pretend, **environment)

    def test_everything_in_one_call_and_nothing_twice(self):
        done = self.train()
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        stage = self.stage("train", "cuda")
        found = stage["results"]
        self.assertEqual(stage["not_run"], [])
        fast = found["fast"]
        self.assertEqual([run["seed"] for run in fast["runs"]], [0, 1, 2])
        self.assertEqual(fast["runs"][0]["reached"]["95.0"], None)
        first = {"epoch": 1, "training_seconds": 9.0, "seconds": 11.0}
        self.assertEqual(fast["runs"][1]["reached"], {"94.0": first, "94.99": first, "95.0": first})
        spread = fast["spread"]
        self.assertEqual(spread["accuracy"], {"count": 3, "mean": 95.5, "deviation": 1.0})
        self.assertEqual(spread["flipped_accuracy"]["mean"], 94.75)
        self.assertEqual(spread["to 94.0 %"]["training_seconds"], {"count": 3, "mean": 9.0, "deviation": 1.0})
        self.assertEqual(spread["to 95.0 %"]["training_seconds"]["count"], 2)
        self.assertEqual([row["name"] for row in found["airbench"]["rows"]], list(airbench_times.NAMES))
        self.assertTrue(found["curves"]["agree"])
        self.assertEqual({run["state"] for runs in found["reproduced"].values() for run in runs}, {"finished"})
        tables = {"ingredients", "cifar10", "cifar100", "depth", "all-cnn", "streams", "few-data"}
        self.assertEqual(set(found["reproduced"]), tables)
        self.assertTrue(found["analysis"]["analyzed"].endswith("rir-18-wide-s0"))
        self.assertTrue(os.path.exists(self.path("out/reproduce-cifar10.json")))
        # What has finished is not begun again, and is still told.
        self.assertEqual(self.train(pretend="train").returncode, 0)
        again = self.stage("train", "cuda")["results"]
        self.assertEqual((again["fast"], again["airbench"]), (fast, found["airbench"]))
        # The README has it.
        blocks = report.blocks(self.path("out"))
        row = "| `rir-18-wide`, recipe `fast` | 3 | 9.0 ± 1.0 | 9.5 ± 0.7 (2 of 3) | 9.5 ± 0.7 (2 of 3) | 9.0 ± 1.0 |"
        self.assertIn(row, blocks["train"])
        self.assertIn("| airbench96 | 3 | – | – | – | 95.0 ± 0.1 | 95.00 ± 0.10 |", blocks["train"])
        self.assertIn("they agree", blocks["curves"])
        self.assertIn("**The table**", blocks["reproduce"])
        self.assertIn("fast: 95.50 % in 3 runs, curves agree", blocks["stages"])

    def test_the_order_and_what_stands_half_done(self):
        done = self.train(pretend="short")
        self.assertEqual(done.returncode, 0, done.stdout)
        texts = self.stage("train", "cuda")["not_run"]
        self.assertIn("reproduce cifar10 rir-18-wide: rir-18-wide-s0 stands at step 410 of 16400; call again", texts[0])
        self.assertIn("analysis: rir-18-wide of the table cifar10 has not finished", texts)
        order = [line.split()[0] for line in done.stdout.splitlines()[1:]]
        firsts = [order.index(word) for word in ("train", "eval", "airbench95,", "torch,", "our", "reproduce")]
        self.assertEqual(firsts, sorted(firsts))
        self.assertEqual(self.train().returncode, 0)
        self.assertEqual(self.stage("train", "cuda")["not_run"], [])
        block = report.blocks(self.path("out"))["reproduce"]
        self.assertIn("| RiR | 18-wide | `rir-18-wide` | – | 0 | – | finished |", block)

    def test_curves_that_drift_apart_fail(self):
        self.assertEqual(self.train(pretend="drift").returncode, 1)
        stage = self.stage("train", "cuda")
        self.assertEqual([entry["why"] for entry in stage["failed"]], ["they disagree"])
        self.assertIn("**disagree**", report.blocks(self.path("out"))["curves"])

    def test_missing_peers_and_data_are_named(self):
        os.rmdir(self.path("data/cifar-100-binary"))
        self.assertEqual(self.train(PYTHON="/no/python").returncode, 0)
        stage = self.stage("train", "cuda")
        names = [text.split(":")[0] for text in stage["not_run"]]
        tables = [f"reproduce cifar100{which}" for which in (" rir-18-wide", "", " 3 seeds")]
        self.assertEqual(names, ["airbench", "curves", *tables])
        self.assertEqual(len(stage["results"]["fast"]["runs"]), 3)


class Reproduced(CardCase):
    def test_tables_say_how_they_depart_from_the_paper(self):
        runs = [{"run": "a", "state": "begun", "steps": 1000, "total_steps": 16400}]
        cell = {"row": "RiR", "column": "18-wide", "model": "rir-18-wide", "n": 3, "mean": 94.987, "half_interval": 0.2}
        cell |= {"published": {"accuracy": 94.99, "confidence": "sure"}, "runs": runs}
        other = {**cell, "runs": [{"run": "b", "state": "to-do"}]}
        table = {"title": "CIFAR-10", "rows": "family", "synthetic": False, "data": "cifar10", "data_digest": "f" * 64}
        table |= {"precision": "bf16", "is_of_paper": True, "is_comparable": True, "cells": [cell, other]}
        table["deviations"] = [{"what": "bf16 arithmetic", "comparable": True}]
        results.write(self.path("out/reproduce-cifar10.json"), table)
        results.write(self.path("out/reproduce-depth.json"), {**table, "synthetic": True})
        block = report.blocks(self.path("out"))["reproduce"]
        row = "| RiR | 18-wide | `rir-18-wide` | 94.99 ± 0.20 | 3 | 94.99, sure | step 1,000 of 16,400 |"
        self.assertIn(row, block)
        self.assertIn("Not as in the paper: bf16 arithmetic; cifar10", block)
        self.assertIn("1 runs have not begun", block)
        self.assertEqual(block.count("**CIFAR-10**"), 1)
        results.write(self.path("out/reproduce-cifar10.json"), {**table, "is_comparable": False})
        self.assertNotIn("94.99, sure", report.blocks(self.path("out"))["reproduce"])


if __name__ == "__main__":
    unittest.main()
