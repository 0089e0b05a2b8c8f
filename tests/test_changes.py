"""Single changes to the runs of the robustness experiment."""

import pytest

from air_tf import cli
from experiments import changes
from experiments.records import Records
from experiments.robustness import cells_by_name
from tests.test_experiments import quickly


def test_each_change_changes_its_cell():
    for cell, added in changes.CHANGES.items():
        flags = cells_by_name()[cell].flags
        place = ["--photographs", "."] * ("--ground photographs" in flags)
        configs = [cli.parse_run([*flags.split(), *place, *c.split()]) for c in ("", *added)]
        assert all(a != b for i, a in enumerate(configs) for b in configs[:i])


def test_its_rows_stand_below_those_of_the_unchanged_cell(tmp_path):
    unchanged = Records(tmp_path / "robustness.jsonl")
    for cell, seed in [("noisy", 0), ("noisy", 1), ("noisy", 2), ("sprites", 0)]:
        unchanged.add({"name": f"{cell}-{seed}", "flags": "-", "cell": cell, "seed": seed})
    rows = [
        {"cell": "noisy", "change": "--steps 7", "seed": 1},
        {"cell": "grid", "change": "--steps 7", "seed": 0},
        {"cell": "noisy", "change": "--steps 9", "seed": 2},
    ]
    found = changes.with_unchanged(rows, unchanged)
    assert [(r["cell"], r["change"], r["seed"]) for r in found] == [
        ("noisy", "", 1),
        ("noisy", "", 2),
        ("noisy", "--steps 7", 1),
        ("noisy", "--steps 9", 2),
        ("grid", "--steps 7", 0),
    ]


@pytest.mark.slow
def test_changes(tmp_path, cache_dir):
    [run] = quickly("changes", tmp_path, cache_dir)
    assert run["cell"] == changes.QUICK_CELL and 0 <= run["count_accuracy"] <= 1
