"""What experiments.estimators runs, resumes, refuses and tabulates; the runs themselves take hours."""

import dataclasses
import json
from pathlib import Path

import pytest

from air_tf import cli
from air_tf.training.loop import Stopped
from air_tf.training.trainer import Diverged
from experiments import estimators, estimators_table, runs

SETTING = estimators.Setting("group", "name", "--presence nvil --steps 700", range(2))
RUN = estimators.run_of(SETTING, 0)


@pytest.fixture
def arguments(tmp_path):
    return runs.Arguments(runs_dir=tmp_path)


@pytest.fixture
def trained(monkeypatch):
    """The configs that were trained; each leaves what a run leaves, then does as `outcome` says."""
    configs = []

    def train(config):
        configs.append(config)
        folder = Path(config.run.runs_dir) / config.run.name
        folder.mkdir(exist_ok=True)
        record = dataclasses.asdict(config) | {"git_commit": "abc", "versions": {}}
        (folder / "config.json").write_text(json.dumps(record))
        if train.outcome is not None:
            raise train.outcome
        (folder / "metrics.json").write_text("{}")

    train.outcome, train.configs = None, configs
    monkeypatch.setattr(runs, "train_run", train)
    return train


def test_a_run_that_is_done_is_not_run_again(arguments, trained):
    folder = runs.train(RUN, arguments)
    assert folder.name == "name-seed0"
    [config] = trained.configs
    assert (config.model.presence, config.model.rho, config.training.seed) == ("nvil", 0.01, 0)
    assert not config.run.resume
    runs.train(RUN, arguments)
    assert len(trained.configs) == 1


def test_an_interrupted_run_goes_on_and_has_a_row(arguments, trained):
    trained.outcome = Stopped("Stopped by SIGTERM: step 500 is saved.", 15)
    with pytest.raises(SystemExit, match=r"step 500 is saved\. The same command goes on"):
        runs.train(RUN, arguments)
    folder = arguments.runs_dir / "name-seed0"
    (folder / "history.jsonl").write_text('{"step": 500, "count_accuracy": 0.4}')
    row = estimators.row(SETTING, 0, folder, None)
    assert row["failure"] == "unfinished at step 500" and row["presence"] == "nvil"
    trained.outcome = None
    runs.train(RUN, arguments)
    assert trained.configs[1].run.resume


def test_a_run_that_diverged_is_a_result(arguments, trained):
    trained.outcome = Diverged("The loss is no longer finite at step 9.")
    folder = runs.train(RUN, arguments)
    assert "no longer finite" in estimators.row(SETTING, 0, folder, None)["failure"]
    runs.train(RUN, arguments)
    assert len(trained.configs) == 1


def test_a_run_of_other_settings_is_refused(arguments, trained):
    folder = runs.train(RUN, arguments)
    assert runs.check_settings(RUN, folder)["git_commit"] == "abc"
    other = RUN._replace(flags=RUN.flags.replace("700", "800"))
    with pytest.raises(ValueError, match="with steps=800. Received: steps=700"):
        runs.check_settings(other, folder)


def test_a_scored_run_is_kept_and_not_loaded_again(arguments, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "load_model", lambda folder: folder.name)
    scores = []

    def score(model, record):
        scores.append(model)
        return {"accuracy": 0.5}

    records = tmp_path / "records"
    for _ in range(2):
        record = runs.scored(RUN, records, arguments, score)
    assert scores == ["name-seed0"] and json.loads((record / "score.json").read_text()) == {
        "accuracy": 0.5
    }
    late = dataclasses.replace(arguments, minutes=0.0)
    assert runs.scored(RUN, records, late, score) == record
    assert runs.scored(estimators.run_of(SETTING, 1), records, late, score) is None


def test_a_record_tells_what_the_run_told_and_nothing_of_the_machine(arguments, trained, tmp_path):
    folder = runs.train(RUN, arguments)
    metrics = {"steps": 700, "ms_per_step": 9.0, "test_digits": {"count_accuracy": 0.9}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "score.json").write_text('{"count_accuracy": 0.97, "elbo": 600.0}')
    (folder / "history.jsonl").write_text('{"step": 350, "count_accuracy": 0.96}\n')
    runs.keep(folder, tmp_path / "record")
    row = estimators.row(SETTING, 0, folder, None)
    assert row["steps_to_95%"] == 350 and row["steps_to_98%"] is None and row["elbo"] == 600.0
    assert runs.is_done(tmp_path / "record")
    assert estimators.row(SETTING, 0, tmp_path / "record", None) == row
    kept = "".join(path.read_text() for path in (tmp_path / "record").iterdir())
    assert "cache" not in kept and str(tmp_path) not in kept


def test_every_setting_has_flags_that_train_takes_and_a_name_of_its_own():
    settings = estimators.settings()
    for setting in settings:
        cli.parse_run(estimators.run_of(setting, 0).flags.split())
    assert len({setting.name for setting in settings}) == len(settings)


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
    line = estimators_table.summary(rows, {"nvil": 20.0})
    assert line["runs"] == "4, 3 done"
    assert line["reach 95%"] == "3 of 4" and line["reach 98%"] == "2 of 4"
    assert line["seconds to 98%"] == "40 / 40"
    assert line["count accuracy"] == "97.00% / 98.00% / 98.00%"
    assert line["IWAE-100, n sampled"] == "630.0" and line["of runs"] == "1"
    assert estimators_table.summary([run(usual_cost=False)], {"nvil": 20.0})["seconds to 98%"] == "-"
