"""What experiments.estimators runs, resumes, refuses and tabulates; the runs themselves take hours."""

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from air_tf import cli
from air_tf.config import Config
from experiments import estimators, estimators_table

SETTING = estimators.Setting("group", "name", "--presence nvil --steps 700", range(2))


@pytest.fixture
def arguments(tmp_path):
    return estimators.Arguments(runs_dir=tmp_path)


@pytest.fixture
def calls(monkeypatch):
    """Commands that were run; each writes what a run writes, then does as `then` says."""
    made = []

    def run(command, **options):
        made.append(command)
        flags = command[2 : command.index("--cache-dir")]
        runs_dir, name = (command[command.index(f) + 1] for f in ("--runs-dir", "--name"))
        folder = Path(runs_dir) / name
        folder.mkdir(exist_ok=True)
        config = dataclasses.asdict(cli.parse(Config, flags)) | {"git_commit": "abc"}
        (folder / "config.json").write_text(json.dumps(config))
        status, message = run.then
        if status == 0:
            (folder / "metrics.json").write_text("{}")
        return subprocess.CompletedProcess(command, status, stderr=message)

    run.then, run.made = (0, ""), made
    monkeypatch.setattr(subprocess, "run", run)
    return run


def test_a_run_that_is_done_is_not_run_again(arguments, calls):
    folder = estimators.train(SETTING, 1, arguments)
    assert folder.name == "name-seed1" and len(calls.made) == 1
    assert {"--presence", "nvil", "--rho", "0.01", "--seed", "1"} <= set(calls.made[0])
    assert "--resume" not in calls.made[0]
    estimators.train(SETTING, 1, arguments)
    assert len(calls.made) == 1


def test_an_interrupted_run_goes_on_and_has_a_row(arguments, calls):
    calls.then = (143, "")
    folder = estimators.train(SETTING, 0, arguments)
    (folder / "history.jsonl").write_text('{"step": 500, "count_accuracy": 0.4}')
    row = estimators.row(SETTING, 0, folder, None)
    assert row["failure"] == "unfinished at step 500" and row["presence"] == "nvil"
    estimators.train(SETTING, 0, arguments)
    assert "--resume" in calls.made[1]


def test_a_run_that_diverged_is_a_result(arguments, calls):
    calls.then = (2, "progress\nerror: The loss is no longer finite at step 9.")
    folder = estimators.train(SETTING, 0, arguments)
    assert "no longer finite" in estimators.row(SETTING, 0, folder, None)["failure"]
    estimators.train(SETTING, 0, arguments)
    assert len(calls.made) == 1


def test_a_run_of_other_settings_is_refused(arguments, calls):
    folder = estimators.train(SETTING, 0, arguments)
    assert estimators.check_settings(SETTING, 0, folder)["git_commit"] == "abc"
    other = dataclasses.replace(SETTING, flags="--presence nvil --steps 800")
    with pytest.raises(ValueError, match="with steps=800. Received: steps=700"):
        estimators.check_settings(other, 0, folder)


def test_a_record_tells_what_the_run_told_and_nothing_of_the_machine(arguments, calls, tmp_path):
    folder = estimators.train(SETTING, 0, arguments)
    config = json.loads((folder / "config.json").read_text()) | {"versions": {}}
    (folder / "config.json").write_text(json.dumps(config))
    metrics = {"steps": 700, "ms_per_step": 9.0, "test_digits": {"count_accuracy": 0.9}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "score.json").write_text('{"count_accuracy": 0.97, "elbo": 600.0}')
    (folder / "history.jsonl").write_text('{"step": 350, "count_accuracy": 0.96}\n')
    estimators.keep(folder, tmp_path / "record")
    row = estimators.row(SETTING, 0, folder, None)
    assert row["steps_to_95%"] == 350 and row["steps_to_98%"] is None and row["elbo"] == 600.0
    assert estimators.is_done(tmp_path / "record")
    assert estimators.row(SETTING, 0, tmp_path / "record", None) == row
    kept = "".join(path.read_text() for path in (tmp_path / "record").iterdir())
    assert "cache" not in kept and str(tmp_path) not in kept


def test_every_setting_has_flags_that_train_takes_and_a_name_of_its_own():
    settings = estimators.settings()
    for setting in settings:
        cli.parse(Config, estimators.flags_of(setting, 0))
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
    assert line["seconds to 98%"] == "40 / 40 / 40"
    assert line["count accuracy"] == "97.00% / 98.00% / 98.00%"
    assert line["IWAE-100, n sampled"] == "630.0" and line["of runs"] == "1"
    assert estimators_table.summary([run(usual_cost=False)], {"nvil": 20.0})["seconds to 98%"] == "-"
