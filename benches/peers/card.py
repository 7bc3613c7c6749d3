"""What nvidia-smi tells of a card: its name and driver, and its clocks, power and temperature at this moment.

Only queries: a card is measured as it is found, and no setting of it is ever changed.
"""

import os
import subprocess

IDENTITY = ("name", "driver_version", "memory.total")
STATE = (
    "clocks.sm", "clocks.mem", "clocks.max.sm", "power.draw", "power.limit", "temperature.gpu", "utilization.gpu",
    "pstate",
)


def visible(ordinal=0):
    """nvidia-smi's name of the program's card `ordinal`: CUDA_VISIBLE_DEVICES renumbers cards, nvidia-smi does not."""
    shown = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return shown[ordinal] if ordinal < len(shown) else str(ordinal)


def query(fields, ordinal=0):
    """field -> text, with its unit; None where there is no nvidia-smi or it does not answer."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "-i", visible(ordinal)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    values = [value.strip() for value in done.stdout.strip().split(",")]
    if done.returncode != 0 or len(values) != len(fields):
        return None
    return dict(zip(fields, values))


def state(ordinal=0):
    """Clocks, power and temperature now, or None."""
    return query(STATE, ordinal)


def identity(ordinal=0):
    """Name, driver and memory, or None."""
    return query(IDENTITY, ordinal)
