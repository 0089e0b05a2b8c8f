"""Sets beyond digits on black, on which others published: how well the presets count there.

    python -m experiments.published_sets
    python -m experiments.published_sets --quick

Each run is one `python train.py --preset SET`; what is done is not done again. Writes
results/published_sets.{jsonl,md}, and a picture of each set's first held-out images, results/SET.png.

References:
    [1] Stelzner et al. 2019, Faster Attend-Infer-Repeat with Tractable Probabilistic Models (SuPAIR);
        the figures are read off its plots, those of AIR too.
    [2] https://github.com/addtt/attend-infer-repeat-pytorch
"""

import itertools
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np

from air_tf import cli
from air_tf.data.masks import inseparable
from air_tf.evaluation.evaluate import evaluate_fully
from air_tf.evaluation.metrics import count_accuracy
from air_tf.training.run_folder import load_model
from experiments.records import Records
from experiments.runs import QUICK, Job, Run, SeedArguments, parse, records_of
from experiments.tables import column, markdown, run_columns, spread, write

PUBLISHED = {  # by preset, the count accuracy that others reach
    "noisy": "SuPAIR 93.7%, AIR 0.5% [1]",
    "grid": "SuPAIR 96.4%, AIR 0.5% [1]",
    "sprites": "SuPAIR 99.0% [1]",
    "multi_dsprites": "one run in four succeeds [2]",
    "small_mnist": "-",
}
SEEDS = {"multi_dsprites": 5, "small_mnist": 5}  # at least, where others fail in some
WITHOUT_DIGITS = "sprites", "multi_dsprites"
MEASURED = "count_accuracy", "count_accuracy_by_count", "foreground_ari", "elbo", "pixel_mse"
AT_ONCE = 500  # images whose masks are held at a time


def job_of(preset: str, seed: int, arguments: SeedArguments) -> Job:
    digits = "" if preset in WITHOUT_DIGITS else f" --digits {arguments.digits}"
    quick = f" {QUICK}" * arguments.quick
    run = Run(f"{preset}-seed{seed}", f"--preset {preset}{digits} --seed {seed}{quick}")
    picture = arguments.results_dir / f"{preset}.png" if seed == 0 else None
    return Job(run, {"preset": preset, "seed": seed}, partial(score, run, picture, arguments))


def score(run: Run, picture: Path | None, arguments: SeedArguments, folder: Path, metrics: dict) -> dict:
    """Accuracy on held-out images, of held-out digits where there are any: of all, and of those whose
    objects one can tell apart."""
    if picture:
        picture.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "samples.png", picture)
    config = cli.parse_run([*run.flags.split(), "--cache-dir", str(arguments.cache_dir)])
    dataset = config.data.load()
    name = "test_digits" if "test_digits" in dataset.splits else "test"
    split = dataset.splits[name]
    segments = partial(dataset.segments, name) if dataset.segments else None
    scene, measured = evaluate_fully(load_model(folder), split, segments)
    parts = [split[start : start + AT_ONCE] for start in range(0, len(split), AT_ONCE)]
    hopeless = np.concatenate([inseparable(dataset.masks(name, part), False) for part in parts])
    return {
        **{key: measured[key] for key in MEASURED},
        "box_ap50": measured["tight_ap50"],
        "inseparable": int(hopeless.sum()),
        "count_accuracy_of_others": count_accuracy(scene.counts[~hopeless], split.counts[~hopeless]),
    }


def lines(rows: list[dict]) -> list[dict[str, str]]:
    """The table: least, median and greatest over the seeds of each set."""
    result = []
    for preset, published in PUBLISHED.items():
        if of_it := [r for r in rows if r["preset"] == preset]:
            result.append({
                "set": preset,
                "published": published,
                "count accuracy": spread(column(of_it, "count_accuracy"), ".1%"),
                "without inseparable": spread(column(of_it, "count_accuracy_of_others"), ".1%"),
                "inseparable images": spread(column(of_it, "inseparable")[:1], ",d"),
                "box AP at 0.5": spread(column(of_it, "box_ap50"), ".2f"),
                "foreground ARI": spread(column(of_it, "foreground_ari"), ".2f"),
                **run_columns(of_it),
            })  # fmt: skip
    return result


def write_results(rows: list[dict], folder: Path) -> None:
    text = (
        "`python -m experiments.published_sets`: each row is its command, with a seed each, evaluated on "
        "10,000 held-out images, of MNIST's test digits where there are digits. Least / median / greatest "
        "over seeds; minutes of training, with whatever else the machine had to do. In an inseparable "
        "image, an object shows less than a fifth of its pixels by itself.\n\n"
    )
    write("published_sets", folder, text + markdown(lines(rows)))


def main() -> None:
    arguments = parse(SeedArguments)
    records = Records(arguments.results_dir / "published_sets.jsonl")
    presets = ["grid"] if arguments.quick else [*PUBLISHED]
    more = {} if arguments.quick else SEEDS
    jobs = [
        job_of(preset, seed, arguments)
        for seed, preset in itertools.product(range(max([arguments.seeds, *more.values()])), presets)
        if seed < max(arguments.seeds, more.get(preset, 0))
    ]
    for rows in records_of(jobs, records, arguments):
        write_results(rows, arguments.results_dir)
    print((arguments.results_dir / "published_sets.md").read_text())


if __name__ == "__main__":
    sys.exit(cli.run(main))
