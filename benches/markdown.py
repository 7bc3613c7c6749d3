"""What the blocks of report.py are made of: tables, numbers, and where they are from."""

import os
import statistics


def table(header, rows):
    """A table of Markdown; a column's cells are text."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def number(value, form):
    """A number in its format, or a dash where there is none."""
    return "–" if value is None else format(value, form)


def source(found, stage):
    """A sentence that says where a block's figures are from."""
    path, result = found[stage]
    name = os.path.basename(path)
    day = result["date"][:10]
    return f"{result['card']}, driver {result['driver']}, {day}: [`{name}`](benches/results/{name}).\n"


def nothing(stage):
    return f"Nothing was measured on a card yet; `benches/gpu-suite.sh {stage}` does it.\n"


def median(values):
    """Of those that are numbers; None of none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
