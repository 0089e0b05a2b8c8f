"""What a run writes down, damaged or not."""

import json

import pytest

from air_tf.json_files import write_json
from air_tf.training import run_record

EVALUATED = {"step": 5, "seconds": 1.0, "count_accuracy": 0.5, "count_accuracy_by_count": {"0": 1.0}}


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"step": 6', b"\xff\xfe", b"null", b"[" * 100_000, b'{"step": -1}', b'{"step": "6"}',
        json.dumps(EVALUATED | {"step": 6, "count_accuracy": "high"}).encode(),
        json.dumps(EVALUATED | {"step": 6, "count_accuracy_by_count": {"none": 1.0}}).encode(),
        json.dumps(EVALUATED | {"step": 6, "seconds": float("nan")}).encode(), b"",
    ],
)  # fmt: skip
def test_damaged_lines_of_the_history_are_passed_over(tmp_path, damaged):
    path = tmp_path / "history.jsonl"
    path.write_bytes(damaged)
    run_record.append_history(EVALUATED, tmp_path)
    with open(path, "ab") as file:
        file.write(damaged)
    run_record.append_history(EVALUATED | {"step": 7, "elbo": float("nan")}, tmp_path)
    history = run_record.read_history(tmp_path)
    assert [record["step"] for record in history] == [5, 7]
    assert history[1]["elbo"] is None


def test_what_json_does_not_know_is_written_as_null(tmp_path):
    values = {"a": float("inf"), "b": [float("nan"), 1.5, (2, float("-inf"))], "c": {"d": float("nan")}}
    write_json(values, tmp_path / "x.json")
    read = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    assert read == {"a": None, "b": [None, 1.5, [2, None]], "c": {"d": None}}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[]", b'{"model": {"depth": 3}}', b'{"model": {}}', b"\xff", b"[" * 100_000,
        b'{"data": [], "model": 3, "training": null, "digits_fingerprint": {}}',
        b'{"data": {}, "model": {"lstm_units": 1e99}, "training": {}, "digits_fingerprint": ""}',
    ],
)  # fmt: skip
def test_a_damaged_config_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"Expected the config of a run in {tmp_path}"):
        run_record.load_model(tmp_path)
