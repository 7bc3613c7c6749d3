"""NVIDIA's tools where the CUDA toolkit puts them."""

import os
import shutil


def find(name):
    """The path of a tool, or None."""
    places = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    return shutil.which(name) or next(
        (path for place in places if place and os.access(path := f"{place}/bin/{name}", os.X_OK)), None
    )


def missing(name):
    """Why it was not run."""
    return f"{name} is not on the PATH nor in $CUDA_HOME/bin nor in /usr/local/cuda/bin"


def read(path):
    """What a tool wrote, or nothing."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""
