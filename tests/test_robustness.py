"""The experiment on other kinds of images."""

import sys

import numpy as np
import pytest
from PIL import Image

from air_tf import cli
from air_tf.data.scenes import ScenesSettings
from experiments import robustness
from experiments.records import Records
from tests.conftest import run_eagerly


@pytest.mark.slow
def test_robustness(tmp_path, cache_dir, monkeypatch):
    flags = ["--quick", "--runs-dir", str(tmp_path), "--cache-dir", str(cache_dir)]
    monkeypatch.setattr(sys, "argv", ["robustness", *flags])
    with run_eagerly():
        robustness.main()
    results = tmp_path / "quick" / "results"
    rows = list(Records(results / "robustness.jsonl"))
    assert [row["cell"] for row in rows] == [*robustness.QUICK_CELLS]
    assert all(0 <= row["count_accuracy"] <= 1 and row["inseparable"] < 0.2 for row in rows)
    for cell in robustness.QUICK_CELLS:
        with Image.open(results / "robustness" / f"{cell}.png") as picture:
            assert np.asarray(picture).std() > 10
        assert f"(robustness/{cell}.png)" in (results / "robustness.md").read_text()


def test_cells_differ_and_cover_the_grid():
    cells = robustness.published_cells() + robustness.scene_cells()
    assert len(robustness.cells_by_name()) == len(cells)
    assert {*robustness.QUICK_CELLS} < {*robustness.cells_by_name()}
    grid = {(c.objects, c.size, c.ground, c.composition) for c in robustness.scene_cells()[:-2]}
    assert len(grid) == 4 * 5 * 2


@pytest.mark.slow
@pytest.mark.parametrize("cell", robustness.cells_by_name().values(), ids=lambda cell: cell.name)
def test_flags_of_each_cell_are_understood(cell):
    place = ["--photographs", str(robustness.photographs())] * (cell.ground == "photographs")
    config = cli.parse_run([*cell.flags.split(), *place])
    assert config.model.composition.composition == cell.composition
    if isinstance(config.data, ScenesSettings):
        assert config.data.paste == cell.composition


def test_the_scales_prior_is_of_the_objects_windows():
    flag, mean, deviation = robustness.scale_prior(66, 10, 14).split()
    assert (flag, float(mean)) == ("--scale-prior", 5) and float(deviation) == pytest.approx(
        5 / 12, abs=5e-3
    )
    assert float(robustness.scale_prior(66, 12, 12).split()[2]) == pytest.approx(5 / 15, abs=5e-3)


def test_images_that_are_hard_are_found_in_parts(tmp_path, monkeypatch):
    data = ScenesSettings(things="shapes", object_counts=(1, 6), train_images=1, test_images=30,
                          cache_dir=str(tmp_path)).load()  # fmt: skip
    hopeless, overlap = robustness.hard_images(data, "test")
    monkeypatch.setattr(robustness, "PART", 7)
    np.testing.assert_array_equal(robustness.hard_images(data, "test"), [hopeless, overlap])
    assert hopeless.any() and not overlap[data.splits["test"].counts == 1].any()
    assert overlap[hopeless].all() and not overlap.all()


def test_the_table_has_a_line_for_each_cell():
    cell = robustness.published_cells()[0]
    fields = {name: value for name, value in cell._asdict().items() if name not in ("flags", "name")}
    numbers = dict.fromkeys(
        ["count_accuracy_separable", "inseparable", "count_error", "tight_ap50", "foreground_ari",
         "pixel_mse", "minutes"], 0.5)  # fmt: skip
    rows = [
        {
            "cell": cell.name,
            "flags": cell.flags,
            **fields,
            **numbers,
            "steps": 7,
            "count_accuracy": value,
        }
        for value in (0.2, 0.9, 0.4)
    ]
    [line] = robustness.lines([*rows, {**rows[0], "failure": "diverged"}])
    assert line["count accuracy"] == "20.0% / 40.0% / 90.0%" and "0.5% (AIR)" in line["published"]
    assert line["seeds"] == "4, 3 done"
