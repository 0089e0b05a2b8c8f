"""An experiment's records: which run they are of, and what a kill or a damaged file leaves of them."""

import math
import os
import sys

import pytest

from benchmarks import count_accuracy
from experiments import estimators, generalisation, more_objects, omniglot, representation, runs
from experiments.estimators_table import summary
from experiments.records import Records
from experiments.tables import markdown

RESULTS = runs.ROOT / "results"
FIRST = {"name": "first", "flags": "--steps 7", "data_fingerprint": "abc", "accuracy": 0.5}
SECOND = {"name": "second", "flags": "", "failure": "no longer finite"}


@pytest.fixture
def records(tmp_path):
    records = Records(tmp_path / "results" / "experiment.jsonl")
    for record in (FIRST, SECOND):
        assert records.add(record) == record
    return records


def test_records_come_back_in_order(records):
    assert list(records) == list(Records(records.path)) == [FIRST, SECOND]
    assert len(records.path.read_text().splitlines()) == 2


def test_a_record_is_found_by_its_name_and_flags(records):
    assert records.find("first", "--steps 7") == records.find("first", "--steps 7", "abc") == FIRST
    assert records.find("third", "--steps 7") is None


def test_a_record_with_other_flags_or_data_is_refused_in_one_line(records):
    expected = f"Expected first in {records.path} to "
    with pytest.raises(ValueError) as error:
        records.find("first", "--steps 8")
    assert str(error.value) == (
        expected + "have the flags '--steps 8'. Received: '--steps 7'; remove its line to run it again."
    )
    with pytest.raises(ValueError) as error:
        records.find("first", "--steps 7", "another")
    assert str(error.value).startswith(expected + "come from the data given. Received: others;")


def test_a_new_record_takes_the_place_of_one_with_its_name(records):
    again = FIRST | {"accuracy": 0.75}
    records.add(again)
    assert list(Records(records.path)) == [again, SECOND]


def test_what_another_process_added_is_kept(records):
    third, fourth = {"name": "third", "flags": ""}, {"name": "fourth", "flags": ""}
    Records(records.path).add(third)
    records.add(fourth)
    assert list(Records(records.path)) == [FIRST, SECOND, third, fourth]


def test_a_kill_while_writing_loses_only_the_new_record(records, monkeypatch):
    def killed(*paths):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        records.add({"name": "third", "flags": ""})
    monkeypatch.undo()
    assert list(Records(records.path)) == [FIRST, SECOND]


@pytest.mark.parametrize("cut", [b'{"name": "third", "fl', b'{"name": "third"}', b"\xff\x00", b"[1, 2]"])
def test_a_damaged_line_is_skipped_with_a_warning(records, capsys, cut):
    with open(records.path, "ab") as file:
        file.write(cut)
    assert list(Records(records.path)) == [FIRST, SECOND]
    [warning] = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"Expected a record in line 3 of {records.path}. Received: ")
    assert warning.endswith(" This line is skipped.")


def test_numbers_that_json_lacks_become_none(records):
    records.add({"name": "third", "flags": "", "elbo": math.nan})
    assert Records(records.path).find("third", "")["elbo"] is None


def measured(name, capsys):
    """The records of the repository, each of them whole."""
    path = RESULTS / f"{name}.jsonl"
    records = Records(path)
    assert len(list(records)) == len(path.read_text().splitlines()) and not capsys.readouterr().err
    return records


@pytest.mark.parametrize("experiment", [generalisation, omniglot])
def test_the_table_is_made_of_the_records(experiment, capsys):
    name = experiment.__name__.partition(".")[2]
    table = markdown(experiment.lines(list(measured(name, capsys))))
    assert (RESULTS / f"{name}.md").read_text().endswith(table)


def test_the_tables_of_more_objects_are_made_of_the_records(capsys):
    records, text = measured("more_objects", capsys), (RESULTS / "more_objects.md").read_text()
    assert markdown(more_objects.lines([r for r in records if "setting" in r])) in text
    assert markdown(more_objects.cost_lines([r for r in records if "megabytes" in r])) in text


def test_the_tables_of_representation_are_made_of_the_records(capsys):
    records, text = measured("representation", capsys), (RESULTS / "representation.md").read_text()
    rows = [r for r in records if "labels" in r]
    assert markdown(representation.lines(rows, representation.LABELS)) in text
    assert markdown(representation.run_lines([r for r in records if "labels" not in r])) in text


def test_the_tables_of_estimators_are_made_of_the_records(capsys):
    records, text = measured("estimators", capsys), (RESULTS / "estimators.md").read_text()
    times = records.by_name["ms_per_step"]["times"]
    known = [setting.name for setting in estimators.settings()]
    rows = [r for r in records if "setting" in r]
    for setting in dict.fromkeys(r["setting"] for r in rows):
        line = summary([r for r in rows if r["setting"] == setting], times, known)
        assert f"| {' | '.join(line.values())} |\n" in text


@pytest.mark.parametrize("which", count_accuracy.SETS)
def test_the_tables_of_count_accuracy_are_made_of_the_records(which, capsys):
    rows = list(measured(which, capsys))
    seeds, flags = count_accuracy.SETS[which]
    assert [r["flags"] for r in rows] == [f"{flags} --seed {seed}" for seed in range(seeds)]
    assert count_accuracy.table(which, flags, rows) == (RESULTS / f"{which}.md").read_text()


def test_count_accuracy_runs_only_the_seeds_without_a_record(tmp_path, monkeypatch, capsys):
    *others, last = measured("benchmark_long", capsys)
    records = Records(tmp_path / "benchmark_long.jsonl")
    for record in others:
        records.add(record)
    held_out = lambda part: {  # noqa: E731
        "count_accuracy": last[f"{part}count accuracy"],
        "elbo": last[f"{part}ELBO (nats)"],
    }
    metrics = {
        **held_out(""), "test_digits": held_out("test digits: "), "seed": 2,
        "count_accuracy_by_count": {
            "0": last["0 objects"], "1": last["1 object"], "2": last["2 objects"],
        },
        "boxes_by_count": {"2": {
            "box_iou": last["box IoU, pairs"], "centre_error": last["centre error, pairs (pixels)"],
        }},
        "ms_per_step": last["ms per step"],
    }  # fmt: skip
    trained = []

    def train(flags, folder):
        trained.append(flags)
        return metrics, last["start to end (s)"]

    monkeypatch.setattr(count_accuracy, "train", train)
    monkeypatch.setattr(count_accuracy, "made_by", lambda folder: {})
    monkeypatch.setattr(sys, "argv", ["", "benchmark_long", "--results-dir", str(tmp_path)])
    count_accuracy.main()
    assert trained == [last["flags"]] and list(Records(records.path))[-1] == last
    assert (tmp_path / "benchmark_long.md").read_text() == (RESULTS / "benchmark_long.md").read_text()
