"""Tables in Markdown, and the files of an experiment's results."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from air_tf.evaluation import plots


def spread(values: list, form: str) -> str:
    """Least, median and greatest; of one or two values those; of None nothing."""
    values = [value for value in values if value is not None]
    if not values:
        return "-"
    if len(values) < 3:
        return " / ".join(format(value, form) for value in sorted(values))
    return " / ".join(format(f(values), form) for f in (np.min, np.median, np.max))


def markdown(lines: list[dict[str, str]]) -> str:
    """A table with a column for each key."""
    rows = [list(lines[0]), ["---"] * len(lines[0]), *(list(line.values()) for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def write(name: str, folder: Path, text: str, figure: Figure | None = None) -> None:
    """Writes NAME.md and, if there is a figure, NAME.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    if figure is not None:
        save(figure, folder / f"{name}.png")


def save(figure: Figure, path: Path) -> None:
    """Writes a picture for the documentation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=plots.DPI)


def column(rows: list[dict], name: str) -> list:
    """The values of the runs that did not fail."""
    return [r[name] for r in rows if "failure" not in r]


def known(rows: list[dict], name: str) -> list:
    """The values of the runs; none unless all have one: those measured before there was such a number
    lack it, and the others alone would be taken for all."""
    return [r[name] for r in rows] if all(name in r for r in rows) else []


def run_columns(rows: list[dict]) -> dict[str, str]:
    """How the runs of a table's line were made: the same for all but their seeds."""
    return {
        "seeds": f"{len(rows)}, {len(column(rows, 'steps'))} done",
        "steps": spread(column(rows, "steps")[:1], ",d"),
        "minutes": spread(column(rows, "minutes"), ".1f"),
        "command": f"`python train.py {rows[0]['flags']}`",
    }
