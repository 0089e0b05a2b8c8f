"""What experiments.estimators runs, resumes, refuses and tabulates; the runs themselves take hours."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from air_tf import cli
from air_tf.training.loop import Stopped
from air_tf.training.trainer import Diverged
from experiments import estimators, estimators_table, runs
from experiments.records import Records

SETTING = estimators.Setting("group", "name", "nvil", "--steps 700", 2)
METRICS = {
    "steps": 700, "seconds": 90.0, "ms_per_step": 9.0, "test_digits": {"count_accuracy": 0.9},
}  # fmt: skip


@pytest.fixture
def arguments(tmp_path):
    return runs.Arguments(runs_dir=tmp_path / "runs", results_dir=tmp_path)


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "estimators.jsonl")


@pytest.fixture
def trained(monkeypatch):
    """The configs that were trained; each leaves what a run leaves, then does as `outcome` says."""
    configs = []

    def train(config):
        configs.append(config)
        folder = Path(config.run.runs_dir) / config.run.name
        folder.mkdir(exist_ok=True, parents=True)
        made = {"git_commit": "abc", "versions": {"keras": "3"}, "digits_fingerprint": "def"}
        (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config) | made))
        (folder / "history.jsonl").write_text('{"step": 350, "count_accuracy": 0.96}\n')
        if train.outcome is not None:
            raise train.outcome
        (folder / "metrics.json").write_text(json.dumps(METRICS))

    train.outcome, train.configs = None, configs
    monkeypatch.setattr(runs, "train_run", train)
    return train


def job_of(arguments, seed=0, setting=SETTING):
    """The run of a seed, whose score is its steps."""
    job = estimators.job_of(setting, seed, arguments)
    return job._replace(score=lambda folder, metrics: {"scored": folder.name})


def test_a_run_that_has_a_record_is_not_run_again(arguments, trained, records):
    [rows] = runs.records_of([job_of(arguments)], records, arguments)
    [config] = trained.configs
    assert (config.model.estimator.presence, config.model.count.rho, config.training.seed) == (
        "nvil",
        0.01,
        0,
    )
    assert not config.run.resume
    late = dataclasses.replace(arguments, minutes=0.0)
    for told in (arguments, late):
        assert list(runs.records_of([job_of(told)], Records(records.path), told)) == [rows]
    assert len(trained.configs) == 1
    assert list(runs.records_of([job_of(arguments, seed=1)], records, late)) == []


def test_an_interrupted_run_goes_on(arguments, trained, records):
    trained.outcome = Stopped("Stopped by SIGTERM: step 500 is saved.", 15)
    with pytest.raises(SystemExit, match=r"step 500 is saved\. The same command goes on"):
        list(runs.records_of([job_of(arguments)], records, arguments))
    assert list(records) == []
    trained.outcome = None
    [[row]] = runs.records_of([job_of(arguments)], records, arguments)
    assert trained.configs[1].run.resume and row["steps"] == 700


def test_a_run_that_diverged_is_a_result(arguments, trained, records):
    trained.outcome = Diverged("The loss is no longer finite at step 9.")
    [[row]] = runs.records_of([job_of(arguments)], records, arguments)
    assert "no longer finite" in row["failure"] and row["git_commit"] == "abc"
    list(runs.records_of([job_of(arguments)], records, arguments))
    assert len(trained.configs) == 1


def test_a_record_of_other_settings_is_refused_before_anything_is_run(arguments, trained, records):
    list(runs.records_of([job_of(arguments)], records, arguments))
    other = SETTING._replace(flags="--steps 800")
    jobs = [job_of(arguments, seed, other) for seed in (1, 0)]
    with pytest.raises(ValueError, match="to have the flags '.*--steps 800'. Received: '.*--steps 700'"):
        list(runs.records_of(jobs, records, arguments))
    assert len(trained.configs) == 1


def test_a_record_tells_what_the_run_told_and_nothing_of_the_machine(
    arguments, trained, records, monkeypatch
):
    evaluation = type("Evaluation", (), {"metrics": {"count_accuracy": 0.97, "elbo": 600.0}})
    bounds = {"sampled": {"bound": 1.0, "standard_error": 0.1}, "summed": {"bound": 2.0}}
    monkeypatch.setattr(estimators, "load_model", lambda folder, rho: (folder.name, rho))
    monkeypatch.setattr(estimators, "benchmark", lambda cache_dir: {"test": "images"})
    monkeypatch.setattr(estimators, "evaluate", lambda model, split: evaluation)
    monkeypatch.setattr(estimators, "importance_bounds", lambda *given: bounds)
    jobs = [estimators.job_of(SETTING, seed, arguments) for seed in (0, 1)]
    *_, [row, second] = runs.records_of(jobs, records, arguments)
    assert row == {
        "name": "name-seed0", "group": "group", "setting": "name", "presence": "nvil",
        "usual_cost": True, "seed": 0, "flags": jobs[0].run.flags, "steps_to_95%": 350,
        "steps_to_98%": None, "count_accuracy": 0.97, "test_digits_count_accuracy": 0.9, "elbo": 600.0,
        "iwae_sampled": 1.0, "iwae_sampled_standard_error": 0.1, "iwae_summed": 2.0, "steps": 700,
        "ms_per_step": 9.0, "minutes": 1.5, "git_commit": "abc", "versions": {"keras": "3"},
        "data_fingerprint": "def",
    }  # fmt: skip
    assert second["iwae_sampled"] is None and second["seed"] == 1
    kept = records.path.read_text()
    assert "cache" not in kept and str(arguments.runs_dir) not in kept


def test_every_setting_has_flags_that_train_takes_and_a_name_of_its_own(arguments):
    settings = estimators.settings()
    for setting in settings:
        config = cli.parse_run(estimators.job_of(setting, 0, arguments).run.flags.split())
        assert config.model.estimator.presence == setting.presence
    assert len({setting.name for setting in settings}) == len(settings)


def test_seconds_are_told_only_of_models_of_the_usual_cost(arguments):
    usual = lambda flags: job_of(arguments, setting=SETTING._replace(flags=flags)).fields["usual_cost"]  # noqa: E731
    assert usual("--steps 7 --rho 0.5") and not usual("--steps 7 --lstm-units 512")


def test_the_table_is_written_from_the_records_alone(arguments, records, monkeypatch):
    records.add({"name": "ms_per_step", "flags": "", "times": {"enumerate": 10.0, "nvil": 20.0}})
    former = {
        "setting": "former", "group": "grid", "presence": "enumerate", "usual_cost": True, "seed": 0,
        "git_commit": "0123456789", "failure": "diverged",
    }  # fmt: skip
    present = estimators.job_of(estimators.settings()[0], 0, arguments)
    records.add({"name": "former-seed0", "flags": "--odds", **former})
    records.add({"name": present.run.name, "flags": present.run.flags, **former, **present.fields})
    flags = ["--only", "enumerate-1e-3", "--minutes", "0", "--results-dir", str(arguments.results_dir)]
    monkeypatch.setattr(sys, "argv", ["estimators", *flags])
    estimators.main()
    *_, known, unknown = (arguments.results_dir / "estimators.md").read_text().splitlines()
    assert known.startswith("| enumerate-1e-3 | 1, 0 done |") and "no longer" not in known
    assert unknown.startswith("| former | 1, 0 done |")
    assert unknown.endswith(
        "`python train.py --odds` | no longer in the library; measured with commit 0123456 |"
    )


def test_summary_counts_and_spreads():
    def run(**changes):
        row = {
            "setting": "s", "presence": "nvil", "flags": "-x", "usual_cost": True, "steps": 5000,
            "steps_to_95%": 1000, "steps_to_98%": 2000, "count_accuracy": 0.98, "elbo": 620.0,
            "iwae_sampled": None, "iwae_summed": None,
        }  # fmt: skip
        return row | changes

    rows = [
        run(), run(**{"steps_to_98%": None, "count_accuracy": 0.97}), run(iwae_sampled=630.04),
        {"setting": "s", "presence": "nvil", "flags": "-x", "usual_cost": True, "failure": "no"},
    ]  # fmt: skip
    line = estimators_table.summary(rows, {"nvil": 20.0}, ["s"])
    assert line["runs"] == "4, 3 done"
    assert line["reach 95%"] == "3 of 4" and line["reach 98%"] == "2 of 4"
    assert line["seconds to 98%"] == "40 / 40"
    assert line["count accuracy"] == "97.00% / 98.00% / 98.00%"
    assert line["IWAE-100, n sampled"] == "630.0" and line["of runs"] == "1" and line["note"] == ""
    slower = estimators_table.summary([run(usual_cost=False)], {"nvil": 20.0}, ["s"])
    assert slower["seconds to 98%"] == "-"
