"""A run's recipe, network and length, read from the files that `rir` writes and reads. Needs nothing beyond Python.

The keys are those of a recipe's TOML (src/optim/recipes/ explains them); what a file leaves out has the default of
`rir`. A key that is not known here ends the reading: a peer that passed over it would train by another recipe.
"""

import ast
import math
import os

from description import check_description, describe

RECIPES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/optim/recipes")

# Lines of metrics in an epoch, as `rir train` writes them.
LINES_PER_EPOCH = 20

# key -> default; None where a recipe has to say it.
KEYS = {
    "name": None, "epochs": None, "batch-size": None, "learning-rate": None, "momentum": None, "nesterov": False,
    "weight-decay": None, "decay-scale": False, "label-smoothing": 0.0, "preprocess": None, "schedule": None,
    "augment": None, "shift-rate": 1.0, "lookahead": {},
}
AUGMENT = {"pad": None, "flip": None, "border": "zero", "cutout": 0}
LOOKAHEAD = {"every": None, "share": None}
SCHEDULES = {"constant": (), "cosine": (), "steps": ("drops", "factor"), "one-cycle": ("warmup", "start", "end")}
CONFIG = {
    "version": None, "data": None, "data-digest": None, "image": None, "device": None, "precision": None, "fuse": None,
    "seed": None, "subset": 0, "evaluate-every": 1, "length": None, "recipe": None, "model": None,
}


# -------------------------------------------------------------------------------------------------------- files


def read_toml(path):
    """The tables of a TOML file as dicts. Raises ValueError, with the file's name, for what cannot be read."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        import tomllib
    except ImportError:  # Python older than 3.11
        tomllib = None
    try:
        return tomllib.loads(text) if tomllib else parse_toml(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_toml(text):
    """The part of TOML that `rir` writes: tables, tables in lists, and values that stand on one line."""
    root = {}
    table = root
    for number, line in enumerate(text.splitlines(), start=1):
        line = without_comment(line).strip()
        try:
            if line.startswith("[[") and line.endswith("]]"):
                *way, name = line[2:-2].strip().split(".")
                table = {}
                inner(root, way).setdefault(name, []).append(table)
            elif line.startswith("[") and line.endswith("]"):
                table = inner(root, line[1:-1].strip().split("."))
            elif line:
                key, value = line.split("=", 1)
                value = value.strip()
                table[key.strip()] = value == "true" if value in ("true", "false") else ast.literal_eval(value)
        except (ValueError, SyntaxError, AttributeError, TypeError) as error:
            raise ValueError(f"line {number} is not understood: {line}") from error
    return root


def inner(table, way):
    """The table at the end of the way."""
    for name in way:
        table = table.setdefault(name, {})
    return table


def without_comment(line):
    """The line up to a # that stands in no string."""
    quote = None
    for i, char in enumerate(line):
        if quote is None and char == "#":
            return line[:i]
        if char in "\"'" and quote in (None, char):
            quote = None if quote else char
    return line


def filled(table, known, what):
    """The table with the defaults of what it leaves out."""
    strangers = sorted(set(table) - set(known))
    if strangers:
        raise ValueError(f"{what} has the key '{strangers[0]}', which this peer does not know")
    missing = [key for key, default in known.items() if default is None and key not in table]
    if missing:
        raise ValueError(f"{what} lacks the key '{missing[0]}'")
    return {**{key: default for key, default in known.items() if default is not None}, **table}


def check_recipe(table, what="the recipe"):
    """The recipe with its defaults. Raises ValueError for a key or kind that is not known."""
    recipe = filled(table, KEYS, what)
    recipe["augment"] = filled(recipe["augment"], AUGMENT, f"{what}'s [augment]")
    if recipe["lookahead"]:
        recipe["lookahead"] = filled(recipe["lookahead"], LOOKAHEAD, f"{what}'s [lookahead]")
    kind = recipe["schedule"].get("kind")
    if kind not in SCHEDULES:
        raise ValueError(f"{what} has the schedule '{kind}'; this peer knows {', '.join(SCHEDULES)}")
    filled(recipe["schedule"], dict.fromkeys(("kind", *SCHEDULES[kind])), f"{what}'s [schedule]")
    for key, value, values in (
        ("preprocess", recipe["preprocess"], ("per-pixel-mean", "per-channel", "none")),
        ("augment.border", recipe["augment"]["border"], ("zero", "reflect")),
        ("augment.flip", recipe["augment"]["flip"], (True, False, "alternating")),
    ):
        if value not in values:
            raise ValueError(f"{what} has {key} = {value!r}; this peer knows {', '.join(map(repr, values))}")
    return recipe


def read_recipe(name):
    """A built-in recipe by its name, or one from a .toml file."""
    path = name if name.endswith(".toml") else os.path.join(RECIPES, f"{name}.toml")
    if path != name and not os.path.isfile(path):
        known = sorted(file[: -len(".toml")] for file in os.listdir(RECIPES))
        raise ValueError(f"no recipe '{name}'; the built-in ones are {', '.join(known)}, others end in .toml")
    return check_recipe(read_toml(path), path)


def description(model, classes, what="the model"):
    """The dict of description.py for a model of `rir`, a table of its TOML. Raises ValueError where peers have none.

    Generalized layers are one convolution with W + E, whichever of its two forms the model names: the function and the
    distribution of its first weights are the same.
    """
    groups = model.get("groups", [])
    fits = (
        len(groups) == 3 and [group.get("stride", 1) for group in groups] == [1, 2, 2]
        and model["stem"] == groups[0]["width"] and model.get("size", 3) == 3 and not model.get("flatten", False)
    )
    if not fits:
        raise ValueError(f"{what} is not of three groups with the strides 1, 2, 2; the peers have no other networks")
    desc = dict(
        family=model["family"], widths=[group["width"] for group in groups], blocks=[g["blocks"] for g in groups],
        layers_per_block=model.get("layers-per-block", 2), projection=model.get("projection", "3x3"),
        head=model.get("head", "linear"), residual_share=model.get("residual-share", 0.5),
        outer_relu=model.get("outer-relu", True), classes=classes,
    )
    check_description(desc)
    return desc


def read_model(name, classes):
    """A named model, or one from a .toml file."""
    if name.endswith(".toml"):
        return description(read_toml(name), classes, name)
    return describe(name, classes)


def read_config(folder):
    """The config.toml of a run, its recipe with defaults. Raises ValueError for a run that no peer can repeat."""
    path = os.path.join(folder, "config.toml")
    config = filled(read_toml(path), CONFIG, path)
    config["recipe"] = check_recipe(config["recipe"], path)
    if config["image"] != [32, 32]:
        raise ValueError(f"{path}: images of {config['image']}; the peers read CIFAR's 32x32")
    return config


# ------------------------------------------------------------------------------------------------------- length


def steps_of(length, images, batch):
    """(steps in an epoch, steps in all) for {"epochs": N} or {"steps": N}; an epoch's last partial batch is dropped."""
    per_epoch = images // batch
    if per_epoch == 0:
        raise ValueError(f"{images} training images make no batch of {batch}")
    return per_epoch, length["steps"] if "steps" in length else length["epochs"] * per_epoch


def line_every(steps_per_epoch):
    """Steps from one line of metrics to the next."""
    return math.ceil(steps_per_epoch / LINES_PER_EPOCH)


def rate(recipe, step, total):
    """The learning rate of `step` (from 0) of `total`: src/optim/schedule.rs in Python."""
    return recipe["learning-rate"] * factor(recipe["schedule"], step, total, recipe["epochs"])


def factor(schedule, step, total, epochs):
    """What a schedule multiplies the rate by; `epochs` is the length that its drops are counted in."""
    done = step / max(total, 1)
    kind = schedule["kind"]
    if kind == "constant":
        return 1.0
    if kind == "cosine":
        return half_cosine(done)
    if kind == "steps":
        # A drop comes at its share of the run, to the nearest step.
        passed = sum(step >= (drop * total + epochs // 2) // epochs for drop in schedule["drops"])
        return schedule["factor"] ** passed
    warmup, start, end = schedule["warmup"], schedule["start"], schedule["end"]
    if done < warmup:
        return start + (1 - start) * done / warmup
    return end + (1 - end) * half_cosine((done - warmup) / max(1 - warmup, 1e-300))


def half_cosine(x):
    """From 1 at 0 to 0 at 1."""
    return 0.5 + 0.5 * math.cos(math.pi * min(max(x, 0.0), 1.0))


def lookahead_share(lookahead, step, total):
    """The share of the way to the fast weights that the slow ones go after `step` steps; None where they stay.

    They follow every few steps, and after the last.
    """
    if not lookahead or (step % lookahead["every"] and step != total):
        return None
    return 1 - (1 - lookahead["share"]) * (step / total) ** 3
