"""The peers as the suite calls them: whether they are installed, and their commands."""

import os
import subprocess
import sys

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../peers")


class Peers:
    """PyTorch and JAX, each by the Python that has it, on the card or in a rehearsal on the processor."""

    def __init__(self, pythons, device, scale):
        self.pythons, self.scale = pythons, scale
        self.device = "cuda" if device == "cuda" else "cpu"
        self.found = {}

    def lacks(self, name):
        """Why `torch`, `jax` or `airbench` cannot be run, or None."""
        if name not in self.found:
            self.found[name] = self.look(name)
        return self.found[name]

    def look(self, name):
        command = [self.pythons[name], "-c", f"import numpy, {name}"]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=180)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{self.pythons[name]} does not run ({error})"
        if done.returncode == 0:
            return None
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"{self.pythons[name]} has no {name} ({why})"

    def torch(self, *options):
        """torch_rir.py with the scale's model."""
        script = os.path.join(FOLDER, "torch_rir.py")
        size = ["--image-size", str(self.scale.image_size), "--device", self.device]
        return [self.pythons["torch"], script, *self.scale.peer_model, *size, *options]

    def torch_step(self, batch, forms, seconds, output):
        """The step in these forms; begins no form after so many seconds."""
        return self.torch(
            "--batch", str(batch), "--forms", ",".join(forms), "--steps", str(self.scale.peer_steps), "--precision",
            self.scale.peer_precision, "--time-limit", str(int(seconds)), "--json", output,
        )

    def torch_layers(self, batch, seconds, output):
        """Every convolution by itself."""
        return self.torch(
            "--layers", "--batch", str(batch), "--repeats", str(self.scale.peer_repeats), "--precision",
            self.scale.peer_precision, "--time-limit", str(int(seconds)), "--json", output,
        )

    def torch_check(self, trace, checkpoint, batch):
        """PyTorch's own numbers against a trace of ours."""
        return self.torch("--check", trace, "--checkpoint", checkpoint, "--input", batch)

    def torch_train(self, run, data, seed, seconds, output):
        """One seed of the same training as a run of ours."""
        script = os.path.join(FOLDER, "torch_train.py")
        return [
            self.pythons["torch"], script, "--run", run, "--data", data, "--seed", str(seed), "--device", self.device,
            "--time-limit", str(int(seconds)), "--json", output,
        ]

    def compare_curves(self, runs, files, output):
        """Whether the curves of our runs and of those files agree."""
        return [sys.executable, os.path.join(FOLDER, "compare_curves.py"), *runs, "--peer", *files, "--json", output]

    def airbench(self, data, runs, seconds, output):
        """airbench95 and airbench96; begins no run after so many seconds."""
        script = os.path.join(FOLDER, "airbench_times.py")
        return [
            self.pythons["airbench"], script, "--data", data, "--runs", str(runs), "--time-limit", str(int(seconds)),
            "--json", output,
        ]

    def jax_step(self, batch, output):
        """The step, compiled as a whole."""
        script = os.path.join(FOLDER, "jax_rir.py")
        return [
            self.pythons["jax"], script, *self.scale.peer_model, "--device", self.device, "--image-size",
            str(self.scale.image_size), "--precision", self.scale.peer_precision, "--batch", str(batch), "--steps",
            str(self.scale.peer_steps), "--json", output,
        ]
