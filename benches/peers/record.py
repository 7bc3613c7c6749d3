"""What a peer in PyTorch records of itself, and how its file is written."""

import datetime
import json
import os
import platform
import shlex
import sys

import card


def heading(script, device):
    """Who measured, on what, when, and by which command."""
    import torch

    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    if device == "cuda":
        versions["cudnn"] = torch.backends.cudnn.version()
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {
        "peer": "torch", "device": device, "device_name": name, "card": card.identity(), "versions": versions,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join([script, *sys.argv[1:]]),
    }


def write(path, result):
    """Replaces the file whole; called after every part, so that what is cut off leaves what it did."""
    if path:
        with open(path + ".part", "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
        os.replace(path + ".part", path)
