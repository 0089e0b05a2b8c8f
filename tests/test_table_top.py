"""Tables with solids: what is drawn is what is told."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from air_tf import AIR, replaced
from air_tf.data import table_top
from air_tf.data.base import Dataset
from air_tf.data.masks import LEAST_SHOWN
from air_tf.data.split import Split
from air_tf.data.table_top import Poses, TableTopSettings, whole_and_shown
from air_tf.evaluation import table_views
from air_tf.evaluation.evaluate import check_images_fit
from air_tf.presets import TABLE_TOP
from air_tf.rendering.solids import SETS
from air_tf.scene import Scene
from tests.conftest import run_eagerly


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Small data sets of both kinds of solids, with fixed and with moving cameras."""
    few = {"train_images": 12, "test_images": 40, "canvas_size": 32}
    cache = str(tmp_path_factory.mktemp("cache"))
    with run_eagerly(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_top, "AT_ONCE", 16)
        yield {
            (solids, view): TableTopSettings(solids=solids, view=view, cache_dir=cache, **few).load()
            for solids, view in [("solids", "fixed"), ("table_ware", "jittered")]
        }


@pytest.mark.parametrize("kind", [("solids", "fixed"), ("table_ware", "jittered")])
def test_every_solid_shows_enough_and_is_where_its_box_is(loaded, kind):
    dataset = loaded[kind]
    split = dataset.splits["test"]
    assert len(split) == 40 and split.image_shape == (32, 32, 3) and {*split.counts} == {0, 1, 2, 3}
    whole, shown = whole_and_shown(split, SETS[kind[0]])
    owned = shown > 0.5
    np.testing.assert_array_equal(dataset.masks("test", split), whole)
    for i, count in enumerate(split.counts):
        assert not whole[i, count:].any() and not split.placements[i, count:].any()
        visible = (whole[i] & owned[i]).sum(axis=(1, 2)) / np.maximum(whole[i].sum(axis=(1, 2)), 1)
        assert (visible[:count] >= LEAST_SHOWN).all()
        for mask, box in zip(owned[i, :count], split.boxes[i]):
            rows, columns = np.nonzero(mask)
            edges = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_allclose(box * 32, edges, atol=1e-4)
    segments = dataset.segments("test", split)
    np.testing.assert_array_equal(segments.max(axis=(1, 2)), split.counts)


def test_no_two_stand_in_each_other_and_none_beside_the_table():
    poses = Poses.random(TableTopSettings(), 300, np.random.default_rng(0))
    for count, numbers in zip(poses.counts, poses.numbers):
        places = numbers[:count, :2]
        assert (abs(places) <= table_top.BORDER).all()
        for i in range(count):
            assert all(np.hypot(*(places[i] - places[j])) > table_top.LEAST_APART for j in range(i))
    assert not poses.numbers[..., 3:].any()
    # 300 draws: of each count about 75, within 4 standard errors of 7.5
    assert (abs(np.bincount(poses.counts) - 75) < 30).all()


@pytest.mark.usefixtures("eagerly")
def test_solids_that_always_hide_each_other_are_refused(monkeypatch):
    monkeypatch.setattr(table_top, "AT_ONCE", 2)
    monkeypatch.setattr(table_top, "MOST_TRIES", 2)
    monkeypatch.setattr(table_top.masks, "LEAST_SHOWN", 1.1)  # more than a solid that stands alone shows
    with pytest.raises(ValueError, match="solid_counts=.1,., which hide each other in all of 4 scenes"):
        table_top.scenes(TableTopSettings(canvas_size=16, solid_counts=(1,)), 5, 0)


def test_what_is_told_draws_the_same_images_again(loaded):
    dataset = loaded["table_ware", "jittered"]
    split = dataset.splits["test"]
    told = split[split.counts > 0]  # who sees an empty table is not told
    images, *_ = table_top.rendered(SETS["table_ware"], 32, Poses.of(told))
    np.testing.assert_allclose(images * 255, told.images, atol=0.51)
    assert not np.array_equal(split.images[split.counts == 0][0], split.images[split.counts == 0][1])
    fixed = loaded["solids", "fixed"].splits["test"]
    empty = fixed.images[fixed.counts == 0]
    np.testing.assert_array_equal(empty, empty[:1].repeat(len(empty), axis=0))


def scene_of(split):
    """What a model would say that is right about everything."""
    true = Poses.of(split)
    readings = {
        "classes": true.classes, "positions": true.numbers[..., :2], "angles": true.numbers[..., 2],
    }  # fmt: skip
    return Scene(split.counts, *[np.zeros(len(split))] * 6, {}, readings)


def test_what_is_inferred_is_measured_and_drawn_anew(loaded):
    dataset = loaded["solids", "fixed"]
    split = dataset.splits["test"]
    scene = scene_of(split)
    right = dataset.measure(scene, split)
    assert right == {
        "class_accuracy": 1.0, "position_error": 0.0, "angle_error_cube": 0.0, "angle_error_can": 0.0,
    }  # fmt: skip
    moved = scene.readings | {"positions": scene.readings["positions"] + [0.06, 0.08]}
    assert dataset.measure(scene._replace(readings=moved), split) == right | {
        "position_error": pytest.approx(0.05)
    }
    [(caption, figure)] = dataset.picture(scene, split).values()
    assert "three sides" in caption
    rows = np.array(figure.axes).reshape(table_views.SHOWN, 5)
    first = np.argsort(-split.counts, kind="stable")[: table_views.SHOWN]
    for axes, i in zip(rows, first):
        image, again, left, right = (ax.images[0].get_array() for ax in axes[:4])
        np.testing.assert_allclose(image * 255, split.images[i], atol=1e-4)
        np.testing.assert_allclose(again, image, atol=1e-2)  # the same scene, rendered
        assert abs(left - image).mean() > 0.02 and abs(left - right).mean() > 0.02
        assert len(axes[4].patches) == 2 * split.counts[i]  # true and inferred outlines


def test_a_camera_that_does_not_move_is_the_usual_one():
    eye = table_top.camera(tf.zeros(1), tf.zeros(1)).eye
    np.testing.assert_allclose(eye[0], table_top.Camera().eye, atol=1e-6)
    turned = table_top.camera(tf.constant([0.3]), tf.constant([0.1])).eye[0] - table_top.Camera().target
    usual = np.subtract(table_top.Camera().eye, table_top.Camera().target)
    assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(usual), rel=1e-5)


def test_solids_without_room_are_refused(tmp_path):
    crowded = TableTopSettings(
        solid_counts=(20,), train_images=1, test_images=1, cache_dir=str(tmp_path)
    )
    with pytest.raises(ValueError, match="find room on the table within 300 tries. Received: 20"):
        crowded.load()
    with pytest.raises(ValueError, match="one of them above 0"):
        TableTopSettings(solid_counts=(0,))


def test_a_model_is_evaluated_on_what_it_draws_alone(small_config):
    split = Split.unlabelled(np.zeros((2, 32, 32, 3), np.uint8))
    glimpses = AIR(replaced(small_config, image_shape=split.image_shape))
    solids = AIR(replaced(TABLE_TOP.model, image_shape=split.image_shape, max_objects=1))

    def check(model, **known):
        check_images_fit(model, Dataset({}, TableTopSettings(), "", "", known), split)

    check(glimpses)
    check(solids, known_solids="solids")
    with pytest.raises(ValueError, match=r"draws, glimpses\. Received: solids\."):
        check(glimpses, known_solids="solids")
    with pytest.raises(ValueError, match=r"draws, solids\. Received: table_ware\."):
        check(solids, known_solids="table_ware")
    with pytest.raises(ValueError, match=r"draws, solids\. Received: no solids on a table\."):
        check(solids)

    def served(model):
        return SimpleNamespace(image_shape=model.image_shape, endpoints=model.endpoints)

    check(served(glimpses))
    check(served(solids), known_solids="table_ware")  # it does not say which solids it draws
    with pytest.raises(ValueError, match=r"draws, glimpses\. Received: solids\."):
        check(served(glimpses), known_solids="solids")
    with pytest.raises(ValueError, match=r"solids on a table\. Received: no solids on a table\."):
        check(served(solids))
