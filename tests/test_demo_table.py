"""The page's table: what one places is drawn, and compared with what is inferred."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from air_tf import replaced
from air_tf.data.table_top import LEAST_APART, rendered
from air_tf.demo.look import Demo, table_of
from air_tf.demo.page import guarded_app
from air_tf.demo.table import FIRST, NOTHING, Table
from air_tf.presets import TABLE_TOP
from tests.conftest import run_eagerly
from tests.page import ADDRESS, CALL, Patches

SIDE, CAN = 32, 2


class Knowing(Patches):
    """A model that finds a cube where the page places one first, a little turned, and nothing else."""

    image_shape = (SIDE, SIDE, 3)
    config = replaced(TABLE_TOP.model, image_shape=image_shape)

    def infer(self, images):
        scene = super().infer(images)
        one = len(images), 3
        _, x, y, angle = FIRST[0]
        readings = {
            "classes": np.zeros(one, np.int32),
            "positions": np.tile(np.float32([x + 0.02, y]), (*one, 1)),
            "angles": np.full(one, np.radians(angle + 88), np.float32),
        }
        return scene._replace(counts=np.ones(len(images), np.int32), readings=readings)


@pytest.fixture(autouse=True)
def eager():
    with run_eagerly():
        yield


@pytest.fixture
def table():
    return Table(Knowing())


def test_what_was_found_is_compared_with_the_solid_that_stands_there(table):
    """0.02 halves of the side are 1% of it, and 88 degrees are -2 of a cube."""
    found = table.look(*table.first())
    assert found.said.startswith("1 found in ")
    row = found.said.splitlines()[-1]
    assert row == "| cube | yes | 1.0 | 2.0 |"
    assert found.picture.width > 5 * SIDE and np.asarray(found.picture).std() > 10


def test_solids_are_drawn_where_they_are_placed_and_empty_places_are_left_out(table):
    places = np.array([(NOTHING, 0.5, 0.5, 90), (CAN, -0.4, 0.2, 90), (NOTHING, 0, 0, 0)], float)
    poses = table.poses(places)
    assert poses.counts.tolist() == [1] and poses.classes[0, 0] == CAN
    np.testing.assert_allclose(poses.numbers[0, 0], [-0.4, 0.2, np.pi / 2, 0, 0])


def test_test_images_are_tables(table, monkeypatch):
    demo = Demo(table.model)
    demo.table, seen = table, []
    monkeypatch.setattr(demo, "look", seen.append)
    for _ in range(3):
        demo.look_at_next_test_image()
    empty = np.float32(
        rendered(table.solids, SIDE, table.poses(np.array([(NOTHING, 0, 0, 0)] * 3)))[0][0]
    )
    for image in seen:
        assert image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
        differs = (np.abs(image / 255 - empty) > 0.05).any(axis=-1)
        assert 0.02 < differs.mean() < 0.5  # some solids stand on the table
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("distance", [0.9 * LEAST_APART, 1.1 * LEAST_APART])
def test_solids_nearer_than_any_that_were_trained_on_are_noted(table, distance):
    places = np.array([(0, 0, 0, 0), (1, distance, 0, 0), (NOTHING, 0, 0, 0)], float)
    assert ("nearer" in table.note(table.poses(places))) == (distance < LEAST_APART)


def test_only_models_of_solids_have_a_table(small_config):
    assert table_of(Patches()) is None and table_of(object()) is None
    assert table_of(Knowing()).places == 3


def test_the_page_takes_the_numbers_of_its_sliders_and_nothing_else():
    demo = Demo(Knowing())
    client, numbers = TestClient(guarded_app(demo), base_url=ADDRESS), demo.table.first()
    assert "<!doctype html>" in client.get("/").text

    def call(data):
        return client.post(CALL, json={"data": data, "fn_index": 3})

    picture, said = call(numbers).json()["data"]
    file = base64.b64decode(picture.partition("base64,")[2].partition('"')[0])
    assert Image.open(io.BytesIO(file)).size > (30, 30) and said.startswith("1 found")
    for wrong in ([], numbers[1:], ["data:,A"] * len(numbers), ["0"] * (len(numbers) - 1) + ["x"]):
        assert call(wrong).status_code == 400
    for beyond in (7, -2, 1e300):  # of a class
        refused = call([beyond, *numbers[1:]])
        assert refused.status_code != 200 and "Traceback" not in refused.text
    assert call([numbers[0], 3, *numbers[2:]]).status_code != 200  # beside the table
