"""The tables of experiments.estimators, from the rows of its runs."""

from pathlib import Path

from air_tf.training.run_folder import write_json
from experiments.tables import markdown, spread

RHO, IMPORTANCE_SAMPLES = 0.01, 100  # of published figures
LEVELS = 0.95, 0.98  # count accuracies whose first step is noted
COMPARED = "enumerate-1e-3", "enumerate-1e-3-annealed"  # of the grid, beside the single changes
NOTES = {
    "enumerate-1e-3": "the default, in the table of changes",
    "fresh-images": "sees more data than the others: not to be set beside published figures",
}


def summary(rows: list[dict], times: dict[str, float]) -> dict[str, str]:
    """A line of the table: all seeds of a setting."""
    done = [r for r in rows if "failure" not in r]
    column = lambda name: [r.get(name) for r in done]  # noqa: E731
    ms = times[rows[0]["presence"]]
    line = {"setting": rows[0]["setting"], "runs": f"{len(rows)}, {len(done)} done"}
    line["steps"] = spread(column("steps"), ",.0f")
    for level in LEVELS:
        steps = column(f"steps_to_{level:.0%}")
        line[f"reach {level:.0%}"] = f"{sum(s is not None for s in steps)} of {len(rows)}"
        line[f"steps to {level:.0%}"] = spread(steps, ",.0f")
        usual = rows[0]["usual_cost"]
        seconds = [step * ms / 1000 for step in steps if usual and step is not None]
        line[f"seconds to {level:.0%}"] = spread(seconds, ".0f")
    line["count accuracy"] = spread(column("count_accuracy"), ".2%")
    line["ELBO"] = spread(column("elbo"), ".1f")
    scored = sum(value is not None for value in column("iwae_sampled"))
    line["IWAE-100, n sampled"] = spread(column("iwae_sampled"), ".1f")
    line["IWAE-100, n summed"] = spread(column("iwae_summed"), ".1f")
    line["of runs"] = str(scored) if scored else "-"
    line["flags"] = f"`{rows[0]['flags']}`"
    line["note"] = NOTES.get(rows[0]["setting"], "")
    return line


def write_results(rows: list[dict], times: dict[str, float], folder: Path) -> None:
    """The rows as JSON, and a Markdown table for each group."""
    folder.mkdir(exist_ok=True)
    write_json({"ms_per_step": times, "runs": rows}, folder / "estimators.json")
    text = [
        "`python -m experiments.estimators`: each row is `python train.py --digits mnist "
        f"--rho {RHO} --evaluation-images 5000` with its flags, one run a seed. Scored on the "
        "benchmark's 10,000 test images with the count summed out (ELBO) or importance weighted "
        f"({IMPORTANCE_SAMPLES} samples), rho {RHO}, pixel scale 0.3, nats. Least / median / greatest "
        "over seeds. Steps to an accuracy are those of the first of the evaluations, every 500 steps "
        "(250 in the groups enumerate and until) on 5,000 of these images, that has it; seconds are "
        "these steps times the time of a step, "
        + ", ".join(f"{presence} {ms:.1f} ms" for presence, ms in times.items())
        + ", taken in turns in one process, where the model has its default size.\n"
    ]
    groups = dict.fromkeys(r["group"] for r in rows)
    for group in groups:
        these = [r for r in rows if r["group"] == group]
        if group == "changes":
            these = [r for r in rows if r["setting"] in COMPARED] + these
        names = dict.fromkeys(r["setting"] for r in these)
        lines = [summary([r for r in these if r["setting"] == name], times) for name in names]
        text += [f"## {group}\n", markdown(lines)]
    (folder / "estimators.md").write_text("\n".join(text))
