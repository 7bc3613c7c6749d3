"""Result files: what they are called, which is the newest, and which the kernels have outgrown."""

import glob
import json
import os
import statistics

STAGES = ("test", "sanitize", "tune", "kernels", "step", "profile", "train")
KEYS = ("stage", "date", "card", "device", "kernels_hash", "results", "not_run", "failed")


def file_name(stage, card, date):
    """`step-h100-80gb-hbm3-2026-11-24.json`; `date` is ISO, of which the day counts."""
    return "-".join([stage, *words_of(card), date[:10]]) + ".json"


def choices_name(card, kernels_hash):
    """`h100-80gb-hbm3-0123456789ab.toml`."""
    return "-".join([*words_of(card), short(kernels_hash)]) + ".toml"


def words_of(card):
    """A card's name as file names have it."""
    words = "".join(c if c.isalnum() else " " for c in card.lower()).split()
    return [word for word in words if word != "nvidia"]


def write(path, result):
    """Whole or not at all: a suite that is ended leaves the stages and commands that it finished."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".part", "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    os.replace(path + ".part", path)


def read(path):
    """A stage's result, or None for a file of another kind. Raises ValueError for one that is damaged."""
    with open(path) as file:
        try:
            result = json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is no JSON: {error}; delete or restore it") from error
    if not isinstance(result, dict) or result.get("stage") not in STAGES:
        return None
    missing = [key for key in KEYS if key not in result]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; delete or restore it")
    return result


def newest(folder, device="cuda"):
    """stage -> (path, result): the newest of each stage by its date, of those made on this kind of device."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        result = read(path)
        if result is None or result["device"] != device:
            continue
        known = found.get(result["stage"])
        if known is None or known[1]["date"] <= result["date"]:
            found[result["stage"]] = (path, result)
    return found


def stale(folder, kernels_hash, device="cuda"):
    """(stage, why) of every stage that has no result for these kernels."""
    found = newest(folder, device)
    lines = []
    for stage in STAGES:
        if stage not in found:
            lines.append((stage, "no result"))
        elif found[stage][1]["kernels_hash"] != kernels_hash:
            path, result = found[stage]
            lines.append((stage, f"{os.path.basename(path)} is of other kernels ({short(result['kernels_hash'])})"))
    return lines


def spread(values):
    """Count, mean and sample deviation (none of fewer than two) of those that are numbers."""
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    return {"count": len(known), "mean": mean, "deviation": statistics.stdev(known) if len(known) > 1 else None}


def short(kernels_hash):
    """Enough of a hash to tell it from another."""
    return (kernels_hash or "unknown")[:12]
