import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from air_tf import drawing
from air_tf.evaluation import plots

random = np.random.default_rng(0)


def drawn(figure):
    """The figure's pixels, `(height, width, 4)` uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def colour_at(pixels, axes, x, y):
    """The colour drawn at a point in the coordinates of the axes."""
    left, bottom = axes.transData.transform((x, y))
    return tuple(pixels[len(pixels) - 1 - int(bottom), int(left), :3].tolist())


def shown(axes):
    (picture,) = axes.images
    return np.asarray(picture.get_array())


def assert_readable(figure):
    """All pictures, their labels, texts and legends lie in the figure and apart."""
    drawn(figure)
    extents = [artist.get_tightbbox() for artist in figure.axes + figure.texts + figure.legends]
    for i, extent in enumerate(extents):
        assert figure.bbox.containsx(extent.x0) and figure.bbox.containsx(extent.x1)
        assert figure.bbox.containsy(extent.y0) and figure.bbox.containsy(extent.y1)
        assert not extent.count_overlaps(extents[:i])


def scene(batch, steps, shape=(10, 20, 3), side=6):
    """What `progress` takes, of noise on black, with windows of 2 and more pixels."""
    low, size = random.uniform(0, 0.6, (batch, steps, 2)), random.uniform(0.2, 0.4, (batch, steps, 2))
    glimpses = random.random((2, batch, steps, side, side, shape[-1]))
    return {
        "images": random.random((batch, *shape)),
        "canvases": np.insert(random.random((batch, steps, *shape)), 0, 0, axis=1),
        "corners": np.concatenate([low, low + size], axis=-1)[..., drawing.CORNERS],
        "glimpses": glimpses[0],
        "glimpse_recons": glimpses[1],
        "scores": random.random((batch, steps)),
        "counts": random.integers(0, steps + 1, batch),
    }


def test_progress_shows_every_picture_and_dims_the_steps_past_the_count():
    data = scene(batch=2, steps=3) | {"counts": np.array([1, 3])}
    rows = np.reshape(plots.progress(**data).axes, (2, 10))
    for b, row in enumerate(rows):
        np.testing.assert_array_equal(shown(row[0]), data["images"][b])
        assert row[0].images[0].get_alpha() == 1
        for step in range(3):
            canvas, glimpse, decoded = row[1 + 3 * step : 4 + 3 * step]
            np.testing.assert_array_equal(shown(canvas), data["canvases"][b, step + 1])
            np.testing.assert_array_equal(shown(glimpse), data["glimpses"][b, step])
            np.testing.assert_array_equal(shown(decoded), data["glimpse_recons"][b, step])
            for axes in (canvas, glimpse, decoded):
                assert axes.images[0].get_alpha() == (1 if step < data["counts"][b] else 0.25)


def test_progress_shows_the_background_where_there_is_one():
    data = scene(batch=2, steps=3)
    data["canvases"][1, 0] = random.random((10, 20, 3))
    figure = plots.progress(**data)
    for b, row in enumerate(np.reshape(figure.axes, (2, 11))):
        np.testing.assert_array_equal(shown(row[1]), data["canvases"][b, 0])
        np.testing.assert_array_equal(shown(row[2]), data["canvases"][b, 1])
        np.testing.assert_array_equal(shown(row[10]), data["glimpse_recons"][b, 2])
    assert "background" in [text.get_text() for text in figure.texts]
    assert_readable(figure)


def test_progress_draws_the_counted_windows_at_their_pixels_edges():
    data = scene(batch=2, steps=3) | {"counts": np.array([2, 0])}
    data["images"] = np.zeros_like(data["images"])
    boxes = np.array([[0.2, 0.1, 0.6, 0.4], [0.5, 0.6, 1.0, 0.9]])  # of 10 x 20 pixels
    data["corners"][0, :2] = boxes[:, drawing.CORNERS]
    figure = plots.progress(**data)
    first, second = figure.axes[0], figure.axes[10]
    edges = [[1.5, 1.5, 5.5, 7.5], [4.5, 11.5, 9.5, 17.5]]  # pixels' centres are whole numbers
    for step, (box, (top, left, bottom, right)) in enumerate(zip(first.patches, edges, strict=True)):
        np.testing.assert_allclose(box.get_path().get_extents().extents, [left, top, right, bottom])
        colour = np.array(drawing.colour_of_step(step)) / 255
        np.testing.assert_allclose(box.get_edgecolor(), [*colour, 1])
        assert not box.get_fill()
    assert not second.patches
    pixels = drawn(figure)
    assert colour_at(pixels, first, 4.5, 1.5) == drawing.colour_of_step(0)
    assert colour_at(pixels, first, 14.5, 4.5) == drawing.colour_of_step(1)
    assert colour_at(pixels, first, 4.5, 3.5) == (0, 0, 0)  # inside of the first box


def test_progress_writes_probabilities_titles_and_headings_in_their_places():
    data = scene(batch=2, steps=2) | {"counts": np.array([1, 2])}
    data["scores"] = np.array([[0.98, 0.314], [1.0, 0.75]])
    titles = ["true 2, found 1", "true 2, found 2"]
    figure = plots.progress(**data, titles=titles)
    texts = {text.get_text(): text for text in figure.texts}
    rows = np.reshape(figure.axes, (2, 7))
    for row, probabilities, title in zip(rows, (("98%", "31%"), ("100%", "75%")), titles):
        assert texts[title].get_position()[1] > row[0].get_position().y1
        for step, probability in enumerate(probabilities):
            text, glimpse = texts[f"p = {probability}"], row[2 + 3 * step].get_position()
            x, y = text.get_position()
            assert x == pytest.approx((glimpse.x0 + glimpse.x1) / 2) and 0 < glimpse.y0 - y < 0.05
            assert to_rgb(text.get_color()) == to_rgb(np.array(drawing.colour_of_step(step)) / 255)
    assert texts[titles[1]].get_position()[1] < rows[0][0].get_position().y0
    for axes, heading in zip(rows[0], ["input", "canvas 1", "glimpse 1", "decoded 1", "canvas 2"]):
        place = axes.get_position()
        assert texts[heading].get_position()[0] == pytest.approx((place.x0 + place.x1) / 2)


@pytest.mark.parametrize("steps", [1, 3, 5, 10])
@pytest.mark.parametrize("batch, shape", [(1, (50, 50, 1)), (3, (50, 50, 1)), (2, (20, 40, 3))])
def test_progress_is_readable_at_any_size(batch, shape, steps):
    titles = ["true 2, found 1, ELBO 431"] * batch
    figure = plots.progress(**scene(batch, steps, shape), titles=titles)
    assert_readable(figure)
    assert figure.get_figwidth() * figure.get_dpi() <= (1100 if steps < 6 else 220 * steps)


def test_grey_is_shown_from_black_to_white_and_clipped():
    images = np.array([[-1.0, 0.0, 0.5, 1.0, 2.0, np.nan], [0.25, 0.5, 0.5, 0.5, 0.5, 0.5]])
    figure = plots.picture_grid(images.reshape(2, 1, 6, 1))
    pixels = drawn(figure)
    greys = [[set(colour_at(pixels, axes, x, 0)) for x in range(6)] for axes in figure.axes]
    assert greys[0] == [{0}, {0}, {128}, {255}, {255}, {0}]
    assert greys[1] == [{64}] + 5 * [{128}]


def test_accuracy_over_training_draws_the_history_in_percent():
    history = [
        {"step": 100, "count_accuracy": 0.25, "count_accuracy_by_count": {"0": 0.5, "10": 0.125}},
        {"step": 300, "count_accuracy": 0.75, "count_accuracy_by_count": {"0": 1.0, "2": 0.5}},
    ]
    figure = plots.accuracy_over_training(history)
    (axes,) = figure.axes
    assert {line.get_label(): line.get_xydata().tolist() for line in axes.lines} == {
        "0 objects": [[100, 50], [300, 100]],
        "2 objects": [[300, 50]],
        "10 objects": [[100, 12.5]],
        "all images": [[100, 25], [300, 75]],
    }
    assert axes.get_ylim() == (0, 100) and axes.get_xlim()[0] == 0
    (legend,) = figure.legends
    legend_texts = [text.get_text() for text in legend.get_texts()]
    assert legend_texts == ["0 objects", "2 objects", "10 objects", "all images"]
    assert_readable(figure)
    *others, overall = axes.lines
    assert to_rgb(overall.get_color()) == (0, 0, 0)
    assert overall.get_linewidth() > max(line.get_linewidth() for line in others)
    assert len({to_rgb(line.get_color()) for line in axes.lines}) == 3  # 0 and 10 share one


def test_accuracy_over_training_says_that_there_is_no_history():
    figure = plots.accuracy_over_training([])
    assert not figure.axes
    assert [text.get_text() for text in figure.texts] == ["no evaluations were kept"]


def test_confusion_writes_numbers_and_shares_of_the_row():
    figure = plots.confusion(np.array([[3, 1, 0], [0, 0, 0], [250, 250, 1500]]))
    (axes,) = figure.axes
    expected = [
        ["3\n75.0%", "1\n25.0%", "0\n0.0%"],
        ["0\n-", "0\n-", "0\n-"],
        ["250\n12.5%", "250\n12.5%", "1,500\n75.0%"],
    ]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(column, row): expected[row][column] for row in range(3) for column in range(3)}
    assert axes.get_title() == "1,503 of 2,004 images counted right"
    assert "true" in axes.get_ylabel() and "inferred" in axes.get_xlabel()
    assert_readable(figure)
    pixels = drawn(figure)
    corners = [colour_at(pixels, axes, *corner) for corner in [(-0.4, -0.4), (1.6, 1.6), (1.6, -0.4)]]
    assert sum(corners[0]) == sum(corners[1]) < sum(corners[2])  # the same share: the same blue


def test_confusion_of_more_inferred_than_true_counts():
    (axes,) = plots.confusion(np.array([[1, 0, 1], [0, 2, 2]])).axes
    assert axes.texts[-1].get_position() == (2, 1) and axes.texts[-1].get_text() == "2\n50.0%"
    assert axes.get_title() == "3 of 6 images counted right"


HEIGHT, WIDTH = 20, 30


def box_at(y, x, side=3):
    """The box of an object whose centre is at a pixel of the image."""
    edges = y - side / 2 + 0.5, x - side / 2 + 0.5, y + side / 2 + 0.5, x + side / 2 + 0.5
    return np.array(edges) / np.tile((HEIGHT, WIDTH), 2)


def test_heat_map_is_in_the_steps_colour_at_the_objects_centres():
    places = [[(4, 20), (15, 9), (10, 25)], [(4, 20), (4, 3), (2, 2)], [(12, 7), (2, 2), (2, 2)]]
    boxes = np.array([[box_at(*place) for place in image] for image in places])
    figure = plots.where_heat_map(boxes, np.array([3, 2, 1]), (HEIGHT, WIDTH, 1))
    pixels, (*panels, together) = drawn(figure), figure.axes
    for step, (y, x) in enumerate(places[0]):
        for panel in panels:
            expected = drawing.colour_of_step(step) if panel is panels[step] else (0, 0, 0)
            assert colour_at(pixels, panel, x, y) == expected
        channel = tuple(255 if i == step else 0 for i in range(3))
        assert colour_at(pixels, together, x, y) == channel
    assert colour_at(pixels, panels[1], 3, 4) == drawing.colour_of_step(1)
    half = np.array(drawing.colour_of_step(0)) / 2  # one object where the fullest bin has two
    np.testing.assert_allclose(colour_at(pixels, panels[0], 7, 12), half, atol=1)
    for panel in figure.axes:
        assert colour_at(pixels, panel, 2, 2) == (0, 0, 0)  # past the count
    titles = [panel.get_title().split("\n") for panel in panels]
    assert [title[0] for title in titles] == [
        "step 1: 3 objects",
        "step 2: 2 objects",
        "step 3: 1 object",
    ]
    assert titles[0][1] == "fullest bin: 2; off the image: 0"
    assert together.get_title().endswith("\n6 objects")


def test_heat_map_of_steps_without_objects_and_of_centres_off_the_image():
    boxes = np.array([[np.zeros(4), box_at(5, 5)], [box_at(18, 28), box_at(5, 5)]])
    figure = plots.where_heat_map(boxes, np.array([1, 1]), (HEIGHT, WIDTH, 1))
    first, second, together = (axes.get_title() for axes in figure.axes)
    assert first == "step 1: 1 object\nfullest bin: 1; off the image: 1"
    assert second == "step 2: 0 objects\nfullest bin: 0; off the image: 0"
    assert together.endswith("\n1 object")
    assert shown(figure.axes[1]).max() == 0


def test_heat_map_of_more_than_three_steps_has_the_first_three_together():
    boxes = np.array([[box_at(4 * step, 6 * step) for step in range(5)]] * 2)
    figure = plots.where_heat_map(boxes, np.array([5, 4]), (HEIGHT, WIDTH, 1))
    pixels, together = drawn(figure), figure.axes[-1]
    assert len(figure.axes) == 6 and together.get_title().endswith("\n6 objects")
    colours = [colour_at(pixels, together, 6 * step, 4 * step) for step in range(5)]
    assert colours == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (0, 0, 0)]


@pytest.mark.parametrize(
    "steps, image_shape", [(1, (50, 50, 1)), (3, (40, 64, 3)), (5, (40, 20, 3)), (5, (40, 64, 3))]
)
def test_heat_map_is_readable_at_any_size(steps, image_shape):
    boxes = np.sort(random.random((50, steps, 2, 2)), axis=2).reshape(50, steps, 4)
    assert_readable(plots.where_heat_map(boxes, np.full(50, steps), image_shape))


@pytest.mark.parametrize("columns", [3, 8])
def test_picture_grid_shows_the_images_in_rows(columns):
    images = random.random((5, 6, 4, 1))
    figure = plots.picture_grid(images, columns)
    places = [axes.get_position() for axes in figure.axes]
    for image, axes in zip(images, figure.axes, strict=True):
        np.testing.assert_array_equal(shown(axes), image[..., 0])
        assert not len(axes.get_xticks()) and not len(axes.get_yticks())
    across, down = ([round(value, 6) for value in values] for values in zip(*(p.min for p in places)))
    assert across == sorted(set(across))[: min(5, columns)] + sorted(set(across))[: max(0, 5 - columns)]
    assert len(set(down)) == (2 if columns == 3 else 1) and down == sorted(down, reverse=True)


def test_traversal_labels_each_dimension_and_value():
    glimpses = random.random((3, 4, 5, 5, 3))
    figure = plots.traversal(glimpses, np.array([-1.5, 0.0, 0.25, 3.0]), np.array([7, 0, 42]))
    axes = np.reshape(figure.axes, (3, 4))
    for place, panel in np.ndenumerate(axes):
        np.testing.assert_array_equal(shown(panel), glimpses[place])
    assert [panel.get_title() for panel in axes[0]] == ["-1.5", "+0", "+0.25", "+3"]
    assert [panel.get_ylabel() for panel in axes[:, 0]] == ["dimension 7", "dimension 0", "dimension 42"]
    assert not any(panel.get_title() for panel in axes[1:].flat)
    assert "standard deviations of the prior" in figure.texts[0].get_text()
    assert_readable(figure)
