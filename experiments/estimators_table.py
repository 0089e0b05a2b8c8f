"""The tables of experiments.estimators, from the records of its runs."""

from pathlib import Path

from experiments.records import Records
from experiments.tables import column, markdown, spread, write

RHO, IMPORTANCE_SAMPLES = 0.01, 100  # of published figures
LEVELS = 0.95, 0.98  # count accuracies whose first step is noted
COMPARED = "enumerate-1e-3", "enumerate-1e-3-annealed"  # of the grid, beside the single changes
NOTES = {
    "enumerate-1e-3": "the default, in the table of changes",
    "fresh-images": "sees more data than the others: not to be set beside published figures",
}


def summary(rows: list[dict], times: dict[str, float], known: list[str]) -> dict[str, str]:
    """A line of the table: all seeds of a setting.

    Args:
        rows: their records.
        times: milliseconds of a step of each estimator.
        known: the settings that can be run.
    """
    setting, ms = rows[0]["setting"], times[rows[0]["presence"]]
    steps = column(rows, "steps")
    line = {"setting": setting, "runs": f"{len(rows)}, {len(steps)} done"}
    line["steps"] = spread(steps, ",.0f")
    for level in LEVELS:
        steps = [step for step in column(rows, f"steps_to_{level:.0%}") if step is not None]
        line[f"reach {level:.0%}"] = f"{len(steps)} of {len(rows)}"
        line[f"steps to {level:.0%}"] = spread(steps, ",.0f")
        seconds = [step * ms / 1000 for step in steps if rows[0]["usual_cost"]]
        line[f"seconds to {level:.0%}"] = spread(seconds, ".0f")
    line["count accuracy"] = spread(column(rows, "count_accuracy"), ".2%")
    line["ELBO"] = spread(column(rows, "elbo"), ".1f")
    sampled = column(rows, "iwae_sampled")
    line["IWAE-100, n sampled"] = spread(sampled, ".1f")
    line["IWAE-100, n summed"] = spread(column(rows, "iwae_summed"), ".1f")
    line["of runs"] = str(len(sampled) - sampled.count(None) or "-")
    line["command"] = f"`python train.py {rows[0]['flags']}`"
    line["note"] = NOTES.get(setting, "")
    if setting not in known:
        line["note"] = f"no longer in the library; measured with commit {rows[0]['git_commit'][:7]}"
    return line


def write_results(records: Records, known: list[str], folder: Path) -> None:
    """Writes a table for each group, in which the settings that can be run come before former ones."""
    times = records.by_name["ms_per_step"]["times"]
    text = [
        "`python -m experiments.estimators`: each row is its command, one run for each seed. Scored on "
        "the benchmark's 10,000 test images with the count summed out (ELBO) or importance weighted "
        f"({IMPORTANCE_SAMPLES} samples), rho {RHO}, pixel scale 0.3, nats. Least / median / greatest "
        "over seeds. Steps to an accuracy are those of the first of the evaluations, every 500 steps "
        "(250 in the groups enumerate and until) on 5,000 of these images, that has it; seconds are "
        "these steps times the time of a step, "
        + ", ".join(f"{presence} {ms:.1f} ms" for presence, ms in times.items())
        + ", taken in turns in one process, where the model has its default size.\n"
    ]
    order = {name: place for place, name in enumerate(known)}
    rows = [record for record in records if "setting" in record]
    rows.sort(key=lambda r: (order.get(r["setting"], len(order)), r["seed"]))
    for group in dict.fromkeys(r["group"] for r in rows):
        these = [r for r in rows if r["group"] == group]
        if group == "changes":
            these = [r for r in rows if r["setting"] in COMPARED] + these
        names = dict.fromkeys(r["setting"] for r in these)
        lines = [summary([r for r in these if r["setting"] == n], times, known) for n in names]
        text += [f"## {group}\n", markdown(lines)]
    write("estimators", folder, "\n".join(text))
