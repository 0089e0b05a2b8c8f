"""Each experiment from end to end in its quick mode, and the arithmetic of its tables."""

import importlib
import sys

import numpy as np
import pytest
from PIL import Image

from air_tf import cli
from air_tf.data.split import Split
from air_tf.training import run_record
from experiments import backgrounds, generalisation, more_objects, omniglot, representation, runs
from experiments.digits import apart
from experiments.records import Records
from experiments.tables import markdown, spread
from tests.conftest import run_eagerly


def quickly(name, folder, cache_dir, *pictures):
    """Runs an experiment's quick mode in `folder`; returns its records."""
    with run_eagerly(), pytest.MonkeyPatch.context() as patch:  # the quick mode leaves it so
        flags = ["--quick", "--runs-dir", str(folder), "--cache-dir", str(cache_dir)]
        patch.setattr(sys, "argv", [name, *flags])
        importlib.import_module(f"experiments.{name}").main()
    results = folder / "quick" / "results"
    assert (results / f"{name}.md").read_text().count("|") > 20
    assert {path.name for path in results.iterdir()} == {f"{name}.jsonl", f"{name}.md", *pictures}
    for file in pictures:
        with Image.open(results / file) as picture:
            assert np.asarray(picture).std() > 10
    return list(Records(results / f"{name}.jsonl"))


@pytest.mark.slow
def test_generalisation(tmp_path, cache_dir):
    rows = quickly("generalisation", tmp_path, cache_dir, "extrapolation.png")
    assert [(r["task"], r["model"]) for r in rows] == [
        ("extrapolation", "AIR"),
        ("extrapolation", "DAIR"),
        ("extrapolation", "DAIR with attention"),
    ]
    assert all(sum(r["unseen_counted_as"].values()) == 40 and r["steps"] == 4 for r in rows)
    configs = [cli.parse_run(r["flags"].split()).model for r in rows]
    assert [c.inference.difference for c in configs] == [False, True, True]
    assert [c.inference.attention_units > 0 for c in configs] == [False, False, True]
    assert [c.estimator.warm_start_steps > 0 for c in configs] == [True, False, False]


@pytest.mark.slow
def test_representation(tmp_path, cache_dir):
    [run, *rows] = quickly("representation", tmp_path, cache_dir, "representation.png")
    assert len(rows) == 6 and all(0 <= r["accuracy"] <= 1 for r in rows)
    assert run["VAE"]["latents"] == 2 * (4 + 3) and 0 < run["VAE"]["pixel_mse"] < 1
    assert 0 <= run["AIR"]["count_accuracy"] <= 1


@pytest.mark.slow
def test_omniglot(tmp_path, cache_dir):
    rows = quickly("omniglot", tmp_path, cache_dir, "omniglot.png", "omniglot_parts.png")
    assert [r["strokes"] for r in rows] == [1, 2]


@pytest.mark.slow
def test_more_objects(tmp_path, cache_dir):
    [cost, run] = quickly("more_objects", tmp_path, cache_dir, "more_objects.png", "two_digits.png")
    assert cost["max_objects"] == 1 and cost["megabytes"] > 0 and cost["ms_per_step"] > 0
    assert run["setting"] == "two_digits" and 0 <= run["count_accuracy"] <= 1


@pytest.mark.slow
def test_backgrounds(tmp_path, cache_dir):
    [run] = quickly("backgrounds", tmp_path, cache_dir)
    assert abs(run["swallowed"]) < 1 and 0 <= run["ground_error"] < 1 and 0 <= run["count_accuracy"] <= 1


@pytest.mark.slow
def test_blobs(tmp_path, cache_dir):
    [run] = quickly("blobs", tmp_path, cache_dir)
    assert 0 <= run["count_accuracy"] <= 1 and run["count_error"] >= 0 and 0 < run["probability"] <= 1


def test_what_a_background_swallows_of_objects():
    random = np.random.default_rng(0)
    y, x = np.meshgrid(np.arange(9), np.arange(8), indexing="ij")
    ground = (0.1 + 0.03 * x + 0.01 * y)[None, ..., None] * [[[[1.0]]], [[[0.8]]]]
    inside = random.random((2, 9, 8)) < 0.3
    ink = inside[..., None] * random.uniform(0.2, 0.5, (2, 9, 8, 1))
    for part, error in [(0, 0), (1, 0), (0.4, 0.05)]:
        drawn = ground + part * ink + np.where(inside[..., None], 0, error)
        assert backgrounds.swallowed(ground + ink, drawn, inside) == pytest.approx(
            (part, error), abs=1e-9
        )


def test_bad_arguments_are_one_line(tmp_path, monkeypatch, capsys):
    flags = ["--omniglot", tmp_path, "--runs-dir", tmp_path, "--cache-dir", tmp_path / "cache"]
    monkeypatch.setattr(sys, "argv", ["omniglot", *map(str, flags)])
    assert cli.run(omniglot.main) == cli.EXIT_BAD_INPUT
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert "Expected Omniglot's images_background" in line and str(tmp_path) in line


def test_the_small_network_learns():
    """Two objects, each with a class told by the sign of a latent: how many have a positive one?"""
    random = np.random.default_rng(0)
    features = random.normal(size=(600, 2, 3)).astype(np.float32)
    targets = (features[:, :, 0] > 0).sum(axis=1)
    train, budget = (features[:400], targets[:400]), representation.Budget(0, 200)
    answers = representation.answers_from("AIR", "sum", 400, train, features[400:], 0, budget)
    assert np.mean(answers == targets[400:]) > 0.85


def test_latents_of_absent_objects_are_zero(small_model, small_images):
    images = np.round(255 * small_images).astype(np.uint8)
    split = Split.unlabelled(images)
    scene = small_model.infer(split.float_images())
    features = representation.features_of("AIR", small_model, split)
    there = np.asarray(scene.scores) > 0.5
    assert features.shape == (5, 2, 1 + 3 + 4)
    np.testing.assert_array_equal(features[..., 0], there)
    assert not features[~there].any()
    np.testing.assert_allclose(features[there][:, 4:], np.asarray(scene.z_what)[there], atol=1e-5)


def test_targets_of_two_digits():
    labels = np.array([[3, 5], [3, 5], [4, 4], [9, 0]])
    first_left, second_left = [[0, 0, 1, 0.3], [0, 0.5, 1, 0.8]], [[0, 0.5, 1, 0.8], [0, 0, 1, 0.3]]
    boxes = np.array([first_left, second_left, first_left, first_left], np.float32)
    images = np.zeros((4, 2, 2, 1), np.uint8)
    split = Split(images, np.full(4, 2), labels, boxes, np.zeros((4, 2, 4), int))
    assert representation.targets_of("sum", split).tolist() == [8, 8, 8, 9]
    assert representation.targets_of("ascending", split).tolist() == [1, 0, -1, 0]


def test_apart_is_without_a_shared_area():
    boxes = np.array([
        [[0, 0, 0.4, 0.4], [0.4, 0, 0.8, 0.4], [0.5, 0.5, 0.9, 0.9]],  # two touch
        [[0, 0, 0.4, 0.4], [0.3, 0.3, 0.8, 0.8], [0.9, 0.9, 1.0, 1.0]],
        [[0, 0, 0.9, 0.9], [0.95, 0, 1.0, 0.4], [0.2, 0.2, 0.3, 0.3]],  # one within another
    ])  # fmt: skip
    assert apart(boxes).tolist() == [True, False, False]


def test_line_through_costs():
    costs = [{"max_objects": n, "ms_per_step": 5 + 3 * n} for n in (1, 3, 6, 12)]
    assert more_objects.line_through(costs, "ms_per_step") == pytest.approx((5, 3, 0))
    assert more_objects.line_through(costs[:2], "ms_per_step") is None
    bent = [{"max_objects": n, "ms_per_step": y} for n, y in ((0, 0), (1, 3), (2, 0))]
    assert more_objects.line_through(bent, "ms_per_step") == pytest.approx((1, 0, 2))


@pytest.mark.parametrize(
    "change, message",
    [
        (("--steps 4", "--steps 9"), "with steps=9. Received: steps=4; move the run away"),
        (("--z-what-size 4", "--z-what-size 5"), "Expected z_what_size=4.* Received: z_what_size=5"),
    ],
)
def test_a_run_goes_on_only_with_the_settings_it_was_begun_with(tmp_path, cache_dir, change, message):
    flags = f"--digits embedded {runs.QUICK}"
    config = cli.parse_run([*flags.split(), "--cache-dir", str(cache_dir)])
    (tmp_path / "a-run").mkdir()  # as training leaves it that was stopped before its first checkpoint
    run_record.write_config(config, config.data.load().fingerprint, tmp_path / "a-run")
    other = runs.Run("a-run", flags.replace(*change))
    with pytest.raises(ValueError, match=message):
        runs.train(other, runs.Arguments(runs_dir=tmp_path, cache_dir=cache_dir))


def test_records_of_measured_runs_come_first_and_together(tmp_path, monkeypatch):
    jobs = [runs.Job(runs.Run(name, ""), {}, lambda folder, metrics: {}) for name in "abcd"]
    monkeypatch.setattr(runs, "measure", lambda job, arguments: {"name": job.run.name, "flags": ""})
    records = Records(tmp_path / "records.jsonl")
    for name in "db":
        records.add({"name": name, "flags": ""})
    told = runs.records_of(jobs, records, runs.Arguments())
    assert ["".join(r["name"] for r in rows) for rows in told] == ["bd", "abd", "abcd"]
    assert [r["name"] for r in Records(records.path)] == list("dbac")


def test_spread_and_table():
    assert spread([0.5, None, 0.25, 1.0], ".0%") == "25% / 50% / 100%"
    assert spread([3], "d") == "3" and spread([3, 1], "d") == "1 / 3" and spread([None], "d") == "-"
    assert markdown([{"a": "1", "b": "2"}]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_a_failed_run_counts_as_a_seed_but_not_in_the_spread():
    done = {
        "task": "extrapolation", "model": "DAIR", "flags": "-x", "unseen_count_accuracy": 0.9,
        "unseen_count_accuracy_apart": None, "seen_count_accuracy": 0.98, "steps": 5000, "minutes": 2.0,
    }  # fmt: skip
    failed = {"task": "extrapolation", "model": "DAIR", "flags": "-x", "failure": "diverged"}
    [line] = generalisation.lines([done, failed])
    assert line["seeds"] == "2, 1 done" and line["count accuracy"] == "90.0%"
