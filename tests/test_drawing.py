import numpy as np
from PIL import Image

from air_tf import drawing
from air_tf.model.where import CORNERS
from air_tf.scene import Scene

random = np.random.default_rng(0)


def test_boxes_are_drawn_in_their_steps_colours():
    boxes = np.array([[0.1, 0.2, 0.5, 0.6], [0.6, 0.6, 0.9, 0.9]])
    picture = np.asarray(drawing.with_boxes(np.zeros((50, 50, 1)), boxes, zoom=2))
    for step, (ymin, xmin, _, xmax) in enumerate(boxes * 100):
        middle = round((xmin + xmax) / 2)
        assert tuple(picture[round(ymin), middle]) == drawing.colour_of_step(step)
    assert tuple(picture[30, 40]) == (0, 0, 0)  # inside of the first box


def test_lines_are_no_wider_than_a_part_of_small_boxes():
    for side, line in ((60, 5), (36, 3), (12, 2), (400, 7)):  # a twelfth, 2 at least, 1000 / 150 at most
        picture = drawing.draw_boxes(Image.new("RGB", (1000, 1000)), np.array([[0.1, 0.1, 0.1, 0.1]] * 2)
                                     + np.array([0, 0, side, side]) / 1000)  # fmt: skip
        row = np.asarray(picture)[100 + side // 2, 100 : 100 + side // 2, 0] > 0
        assert row.sum() == line
    assert not np.any(drawing.draw_boxes(Image.new("RGB", (9, 9)), np.array([])))


def test_a_turned_box_is_drawn_turned():
    diamond = np.array([[[0.2, 0.5], [0.5, 0.8], [0.8, 0.5], [0.5, 0.2]]])
    picture = np.asarray(drawing.with_boxes(np.zeros((50, 50, 1)), diamond, zoom=2)).any(axis=-1)
    for y, x in ((21, 50), (50, 21), (78, 50), (50, 78), (36, 36), (64, 64)):  # corners and edges
        assert picture[y - 1 : y + 2, x - 1 : x + 2].any()
    assert not picture[20:30, 20:30].any()  # a corner of its hull
    assert not picture[45:55, 45:55].any()  # inside of it


def test_upright_windows_are_moved_into_the_picture_and_turned_ones_are_not():
    box = np.array([[-0.5, -0.5, 1.5, 1.5]])
    for upright in box, box[:, CORNERS]:
        picture = np.asarray(drawing.with_boxes(np.zeros((50, 50, 1)), upright, zoom=2)).any(axis=-1)
        assert picture[0].all() and picture[-1].all() and picture[:, 0].all() and picture[:, -1].all()
    diamond = np.array([[[-0.2, 0.5], [0.5, 1.2], [1.2, 0.5], [0.5, -0.2]]])
    picture = np.asarray(drawing.with_boxes(np.zeros((50, 50, 1)), diamond, zoom=2)).any(axis=-1)
    assert picture[13:18, 13:18].any() and not picture[0, 40:60].any()  # edges, not the cut corner


def test_enlarge_clips_and_keeps_colours():
    image = np.zeros((2, 2, 3))
    image[0, 0], image[1, 1] = (2.0, 0.5, -1.0), np.nan
    picture = np.asarray(drawing.enlarge(image, 4, 4))
    np.testing.assert_array_equal(picture[:2, :2], np.broadcast_to([255, 128, 0], (2, 2, 3)))
    np.testing.assert_array_equal(picture[2:, 2:], 0)


def test_samples_picture_shows_every_image():
    images = np.full((3, 20, 20, 1), 0.5)
    scene = Scene(
        counts=np.array([0, 1, 2]), count_probs=random.random((3, 3)),
        boxes=np.tile([0.1, 0.2, 0.8, 0.2], (3, 2, 1)), tight_boxes=np.zeros((3, 2, 4)),
        scores=random.random((3, 2)), reconstructions=random.random((3, 20, 20, 1)),
        backgrounds=np.zeros((3, 20, 20, 1)), latents={},
    )  # fmt: skip
    glimpses, corners = random.random((3, 2, 8, 8, 1)), scene.boxes[..., CORNERS]
    rows = drawing.scene_rows(images, scene, corners, glimpses, glimpses)
    side = 20 * drawing.ZOOM
    assert rows.dtype == np.uint8 and rows.shape[:2] == (3, side) and rows.shape[3] == 3
    picture = np.asarray(drawing.samples_picture(rows, 20, background=False))
    inputs = np.all(picture == 128, axis=-1).sum()
    assert inputs >= 3 * side**2  # each image once without boxes, and once nearly so
