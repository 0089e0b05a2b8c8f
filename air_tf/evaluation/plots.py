"""Figures of an evaluation report, as plain functions on arrays.

They know no model and write no file. Images are `(H, W, C)` in [0, 1] with one channel (grey) or
three; boxes are (ymin, xmin, ymax, xmax) as fractions of the image.
"""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from air_tf import drawing

WIDTH, DPI = 11.0, 100  # inches, pixels an inch
MARGIN, GAP, LINE = 0.1, 0.05, 0.22  # inches; a line of text
SMALLEST_CELL, LARGEST_CELL = 0.59, 1.3  # inches, the side of one of many pictures
FONT = 8  # points
BACKGROUND, TEXT = (np.array(colour) / 255 for colour in (drawing.BACKGROUND, drawing.TEXT))
LABEL = {"fontsize": FONT, "color": TEXT}
DIMMED = 0.25  # alpha of a step past the count
HEADINGS, CHANNELS = ("canvas", "glimpse", "decoded"), ("red", "green", "blue")
BINS = 25  # of a heat map, a side
BY_COUNT = "count_accuracy_by_count"


def progress(images, canvases, corners, glimpses, glimpse_recons, scores, counts, titles=None) -> Figure:
    """How each image was inferred, one row per image: the input, its background, then step by step.

    Args:
        images: `(B, H, W, C)`.
        canvases: `(B, N + 1, H, W, C)`, the image with the first 0 to N objects drawn.
        corners: `(B, N, 4, 2)`, of the windows: (y, x) as fractions of the image, clockwise.
        glimpses: `(B, N, h, w, C)`, what each step attended to.
        glimpse_recons: `(B, N, h, w, C)`, what it decoded.
        scores: `(B, N)`, q(n >= i), fractions.
        counts: `(B,)`, objects inferred; later steps have no window and are dimmed.
        titles: B lines, one above each row.

    Returns:
        The figure; its axes are row by row the input, the background if any image has one, then each
        step's canvas, glimpse and decoded.
    """
    steps, first = corners.shape[1], 2 if canvases[:, 0].any() else 1
    columns = first + 3 * steps
    gaps = 2 * MARGIN + (columns - 1) * GAP + steps * MARGIN
    width = max(SMALLEST_CELL, min(LARGEST_CELL, (WIDTH - gaps) / columns))
    height = width * images.shape[1] / images.shape[2]
    pitch = height + (1 if titles is None else 2) * LINE + MARGIN
    figure = _dark_figure(gaps + columns * width, len(images) * pitch + 2 * LINE + MARGIN)
    lefts = [MARGIN + i * (width + GAP) + (i - first + 3) // 3 * MARGIN for i in range(columns)]
    headings = ["input", "background"][:first]
    headings += [f"{what} {i + 1}" for i in range(steps) for what in HEADINGS]
    for left, heading in zip(lefts, headings):
        _write(figure, left + width / 2, MARGIN, heading, ha="center")
    for row, (image, count) in enumerate(zip(images, counts)):
        top = MARGIN + LINE + row * pitch
        if titles is not None:
            _write(figure, MARGIN, top + 0.02, titles[row])
            top += LINE
        input_axes = _show(figure, lefts[0], top, width, height, image)
        for step, of_window in enumerate(corners[row, :count]):
            _draw_window(input_axes, of_window, image.shape, _colour(step))
        if first > 1:
            _show(figure, lefts[1], top, width, height, canvases[row, 0])
        for step, score in enumerate(scores[row]):
            pictures = canvases[row, step + 1], glimpses[row, step], glimpse_recons[row, step]
            of_step = lefts[first + 3 * step :][:3]
            colour, alpha = _colour(step), 1.0 if step < count else DIMMED
            for left, picture in zip(of_step, pictures):
                _show(figure, left, top, width, height, picture, colour, alpha)
            style = {"ha": "center", "color": colour, "alpha": max(alpha, 0.6)}  # to be read
            _write(figure, of_step[1] + width / 2, top + height + 0.04, f"p = {score:.0%}", **style)
    legend = "p = q(n >= i) at step i. Dimmed: past the inferred count."
    _write(figure, MARGIN, figure.get_figheight() - LINE, legend)
    return figure


def accuracy_over_training(history: list[dict]) -> Figure:
    """Count accuracy against training steps, of all images and of those with each true count.

    Args:
        history: evaluations in order: dicts with `step`, `count_accuracy` (fraction) and
            `count_accuracy_by_count` ({"0": fraction, ...}).

    Returns:
        The figure, in percent: a coloured line for each true count, then a thick black one for all.
    """
    figure = Figure(figsize=(8, 4.5), dpi=DPI, layout="constrained")
    if not history:
        figure.text(0.5, 0.5, "no evaluations were kept", ha="center", va="center")
        return figure
    axes, style = figure.add_subplot(), {"marker": ".", "clip_on": False}  # 0 and 100 % in full
    for count in sorted({count for record in history for count in record[BY_COUNT]}, key=int):
        points = [(r["step"], 100 * r[BY_COUNT][count]) for r in history if count in r[BY_COUNT]]
        axes.plot(*zip(*points), color=f"C{int(count) % 10}", label=_objects(int(count)), **style)
    known = [record for record in history if record["count_accuracy"] is not None]
    points = [(record["step"], 100 * record["count_accuracy"]) for record in known]
    axes.plot(*zip(*points), color="black", linewidth=3, label="all images", **style)
    axes.set(xlabel="training steps", ylabel="images counted right (%)", xlim=(0, None), ylim=(0, 100))
    axes.set_title("Count accuracy over training, by the true number of objects", pad=12)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def confusion(matrix: np.ndarray) -> Figure:
    """How many images of each true count were given each count.

    Args:
        matrix: `(true counts, inferred counts)` int, numbers of images.

    Returns:
        The figure: in each cell the number, and its share of the row (if not empty), in percent.
    """
    rows, columns = matrix.shape
    of_row = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, of_row, out=np.full(matrix.shape, np.nan), where=of_row > 0)
    size = max(4.2, 1.4 + 0.9 * columns), 1.6 + 0.8 * rows
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        text = f"{matrix[row, column]:,}\n" + ("-" if np.isnan(share) else f"{share:.1%}")
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.5 else "black")
    axes.set(xticks=range(columns), yticks=range(rows))
    axes.set(xlabel="inferred number of objects", ylabel="true number of objects (row: 100%)")
    axes.set_title(f"{np.trace(matrix):,} of {matrix.sum():,} images counted right", fontsize=11)
    return figure


def count_histogram(counts: np.ndarray, max_objects: int) -> Figure:
    """How many images were given each count.

    Args:
        counts: `(B,)`, objects inferred.
        max_objects: the most there can be.

    Returns:
        The figure: a bar a count with its number of images.
    """
    numbers = np.bincount(counts, minlength=max_objects + 1)
    figure = Figure(figsize=(5, 3.2), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.bar_label(axes.bar(range(len(numbers)), numbers), [f"{number:,}" for number in numbers])
    axes.set(xlabel="inferred number of objects", ylabel="images", xticks=range(len(numbers)))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def where_heat_map(boxes: np.ndarray, counts: np.ndarray, image_shape: tuple[int, ...]) -> Figure:
    """Where in the image each step finds its objects: histograms of their centres.

    Args:
        boxes: `(B, N, 4)`, of what each step draws; empty ones lie off the image.
        counts: `(B,)`, objects inferred; steps past them are left out.
        image_shape: `(H, W, ...)`, in pixels.

    Returns:
        The figure, with axes in pixels: a panel a step, from black to the step's colour in its
        fullest bin, and one with the first three steps as the channels red, green and blue.
    """
    sizes, steps = np.array(image_shape[:2]), boxes.shape[1]
    bins = np.minimum(BINS, sizes)
    edges = [np.linspace(-0.5, size - 0.5, n + 1) for size, n in zip(sizes, bins)]
    panels, channels, totals = [], np.zeros((3, *bins)), []
    for step in range(steps):
        found = boxes[counts > step, step]
        seen = found[(found[:, 2:] > found[:, :2]).all(axis=-1)]
        centres = ((seen[:, :2] + seen[:, 2:]) / 2 * sizes - 0.5).T  # pixels
        histogram, *_ = np.histogram2d(*centres, bins=edges)
        density = histogram / max(1, histogram.max())
        channels[step : step + 1] = density  # nothing from the fourth on
        totals.append(int(histogram.sum()))
        notes = f"fullest bin: {histogram.max():,.0f}; off the image: {len(found) - len(seen):,}"
        caption = f"step {step + 1}: {_objects(totals[-1])}\n{notes}"
        panels.append((density[..., None] * _colour(step), caption))
    caption = ", ".join(f"step {i} {name}" for i, name in enumerate(CHANNELS[:steps], start=1))
    panels.append((np.moveaxis(channels, 0, -1), f"{caption}:\n{_objects(sum(totals[:3]))}"))

    per_line, side = min(4, len(panels)), WIDTH / 4
    lines = -(-len(panels) // per_line)
    height = lines * ((side - 2 * LINE) * sizes[0] / sizes[1] + 3 * LINE) + LINE
    figure = _dark_figure(per_line * side, height, layout="constrained")
    extent = -0.5, sizes[1] - 0.5, sizes[0] - 0.5, -0.5
    for i, (picture, caption) in enumerate(panels, start=1):
        axes = figure.add_subplot(lines, per_line, i)
        axes.imshow(picture, extent=extent, interpolation="nearest")
        axes.set_title(caption, **LABEL)
        axes.tick_params(labelsize=FONT, colors=TEXT)
        axes.spines[:].set_color(TEXT / 2)
    figure.supxlabel(f"x of the centre (pixels); {bins[1]} x {bins[0]} bins", **LABEL)
    figure.supylabel("y of the centre (pixels)", **LABEL)
    return figure


def picture_grid(images: np.ndarray, columns: int = 8) -> Figure:
    """Images side by side, such as samples from the prior.

    Args:
        images: `(B, H, W, C)`.
        columns: images per row.

    Returns:
        The figure; its axes are the images in order.
    """
    return _grid(images, min(columns, len(images)))


def traversal(glimpses: np.ndarray, values: np.ndarray, dimensions: np.ndarray) -> Figure:
    """What single dimensions of an object's code do to the decoded glimpse.

    Args:
        glimpses: `(R, K, h, w, C)`; row r varies dimension `dimensions[r]` of the code.
        values: `(K,)`, of that dimension, in standard deviations of the prior.
        dimensions: `(R,)`, the indices of the dimensions.

    Returns:
        The figure; its axes are the glimpses, row by row.
    """
    columns = glimpses.shape[1]
    figure = _grid(glimpses.reshape(-1, *glimpses.shape[2:]), columns, left=1.0, top=2 * LINE)
    _write(figure, MARGIN, MARGIN, "value of the dimension, in standard deviations of the prior")
    for axes, value in zip(figure.axes, values):
        axes.set_title(f"{value:+.3g}", pad=3, **LABEL)
    for axes, dimension in zip(figure.axes[::columns], dimensions):
        axes.set_ylabel(f"dimension {dimension}", rotation=0, ha="right", va="center", **LABEL)
    return figure


def as_array(figure: Figure) -> np.ndarray:
    """The figure's pixels, `(H, W, 4)` uint8, for TensorBoard."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def _grid(images, columns, left=0.0, top=0.0) -> Figure:
    """Images in rows of `columns`, with room in inches for labels."""
    left, top = left + MARGIN, top + MARGIN
    width = min(LARGEST_CELL, (WIDTH - left - MARGIN + GAP) / columns - GAP)
    height = width * images.shape[1] / images.shape[2]
    across, down, rows = width + GAP, height + GAP, -(-len(images) // columns)
    figure = _dark_figure(left + columns * across - GAP + MARGIN, top + rows * down - GAP + MARGIN)
    for i, image in enumerate(images):
        _show(figure, left + i % columns * across, top + i // columns * down, width, height, image)
    return figure


def _dark_figure(width, height, **options) -> Figure:
    return Figure(figsize=(width, height), dpi=DPI, facecolor=tuple(BACKGROUND), **options)


def _write(figure, left, top, text, **style):
    """A line of text, in inches from the figure's left and top."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, **LABEL | {"va": "top"} | style)


def _show(figure, left, top, width, height, image, colour=TEXT / 2, alpha=1.0):
    """A framed picture, in inches from the figure's left and top."""
    across, down = figure.get_size_inches()
    place = left / across, 1 - (top + height) / down, width / across, height / down
    axes = figure.add_axes(place, xticks=[], yticks=[], facecolor="none")
    picture = np.clip(np.nan_to_num(image), 0, 1)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, alpha=alpha, interpolation="nearest")
    axes.spines[:].set(color=colour, alpha=alpha)
    return axes


def _draw_window(axes, corners, image_shape, colour):
    """A window's corners `(4, 2)` on a picture; its pixels' centres are at whole numbers."""
    places = drawing.moved_inside(np.asarray(corners)[None])[0] * image_shape[:2] - 0.5
    style = {"color": colour, "linewidth": 1.5, "clip_on": bool(drawing.is_turned(places))}
    axes.add_patch(Polygon(places[:, ::-1], fill=False, **style))


def _colour(step) -> np.ndarray:
    return np.array(drawing.colour_of_step(step)) / 255


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count:,} objects"
