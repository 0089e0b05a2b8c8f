"""Pictures of scenes, as plain functions on arrays.

Images are `(H, W, C)` in [0, 1]; pictures are `(h, w, 3)` uint8.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from air_tf.model.where import CORNERS

STEP_COLOURS = (
    (255, 60, 60),
    (60, 220, 60),
    (80, 130, 255),
    (255, 200, 40),
    (220, 80, 220),
    (60, 220, 220),
)
BACKGROUND, TEXT = (24, 24, 28), (235, 235, 235)
ZOOM = 3  # picture pixels a pixel of the image
MARGIN, LINE = 8, 18  # picture pixels
LINES_A_SIDE = 150  # a box's line is this part of the picture's smaller side, and 2 pixels at least,
LINES_A_BOX = 12  # but no more than this part of the boxes' median side
HEADINGS = "input", "boxes", "reconstruction"
OF_STEPS = "glimpse, decoded, q(n >= i)"


def colour_of_step(step: int) -> tuple[int, int, int]:
    """Red, green, blue for the first three steps, as in the paper's figures."""
    return STEP_COLOURS[step % len(STEP_COLOURS)]


def enlarge(image: np.ndarray, height: int, width: int) -> Image.Image:
    """`(H, W, C)` in [0, 1], clipped, as an RGB picture of the given size in pixels."""
    pixels = np.uint8(np.round(np.clip(np.nan_to_num(image), 0, 1) * 255))
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def with_boxes(image: np.ndarray, boxes: np.ndarray, zoom: int = ZOOM) -> Image.Image:
    """The image with boxes as `draw_boxes` draws them."""
    return draw_boxes(enlarge(image, image.shape[0] * zoom, image.shape[1] * zoom), boxes)


def draw_boxes(picture: Image.Image, boxes: np.ndarray) -> Image.Image:
    """The RGB picture, with boxes drawn on it in their steps' colours.

    Args:
        picture: is drawn on.
        boxes: `(n, 4)`, or the corners of windows, `(n, 4, 2)`.
    """
    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    boxes = np.asarray(boxes)
    corners = boxes if boxes.ndim == 3 else boxes.reshape(-1, 4)[:, CORNERS]
    corners = moved_inside(corners) * [height, width]
    widest = min(picture.size) / LINES_A_SIDE
    if len(corners):
        sides = np.linalg.norm(corners[:, 1:3] - corners[:, :2], axis=-1)
        widest = min(widest, np.median(sides) / LINES_A_BOX)
    line = max(2, round(widest))
    for step, of_box in enumerate(corners):
        (top, left), (bottom, right) = of_box.min(axis=0), of_box.max(axis=0)
        style = {"outline": colour_of_step(step), "width": line}
        if is_turned(of_box):
            draw.polygon(of_box[:, ::-1].ravel().tolist(), **style)
        else:  # drawn much faster; off the image, edges are at 0
            draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), **style)
    return picture


def is_turned(corners: np.ndarray) -> np.ndarray:
    """Whether windows with these corners `(..., 4, 2)` are turned."""
    return (corners[..., 0, 0] != corners[..., 1, 0]) | (corners[..., 1, 1] != corners[..., 2, 1])


def moved_inside(corners: np.ndarray) -> np.ndarray:
    """Corners `(n, 4, 2)`, those of upright windows moved into the image, so that all edges are seen."""
    return np.where(is_turned(corners)[:, None, None], corners, np.clip(corners, 0, 1))


def side_by_side(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Pictures of one size in a grid, `columns` per row."""
    width, height = (size + MARGIN for size in pictures[0].size)
    rows, columns = -(-len(pictures) // columns), min(columns, len(pictures))
    sheet = Image.new("RGB", (columns * width - MARGIN, rows * height - MARGIN), BACKGROUND)
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet


def glimpse_pairs(pairs: list[tuple[np.ndarray, np.ndarray]], side: int) -> Image.Image:
    """Each step's glimpse above what it was decoded as, framed in its colour; one blank without any."""
    frame = MARGIN // 2
    columns = []
    for step, pair in enumerate(pairs):
        column = Image.new("RGB", (side + 2 * frame, 2 * side + 3 * frame), colour_of_step(step))
        for i, glimpse in enumerate(pair):
            column.paste(enlarge(glimpse, side, side), (frame, frame + i * (side + frame)))
        columns.append(column)
    return side_by_side(columns or [Image.new("RGB", (side, 2 * side), BACKGROUND)], len(pairs) or 1)


def scene_row(
    image, boxes, reconstruction, background, glimpses, glimpse_recons, scores, count, zoom=ZOOM
):
    """One image's inference from left to right, as in the paper's figure 3.

    Args:
        image: `(H, W, C)`.
        boxes: `(N, 4)` or `(N, 4, 2)`, as for `draw_boxes`.
        reconstruction: `(H, W, C)`.
        background: `(H, W, C)`; None: there is none to draw.
        glimpses: `(N, h, w, C)`, what each step attended to.
        glimpse_recons: `(N, h, w, C)`, what it decoded.
        scores: `(N,)`, q(n >= i).
        count: objects inferred; later steps are drawn dimmed.

    Returns:
        A Pillow picture: the input, the input with boxes, the reconstruction, the
        background, and each step's glimpse above its reconstruction with its probability.
    """
    height, width = image.shape[0] * zoom, image.shape[1] * zoom
    side = (height - LINE) // 2
    columns = [enlarge(image, height, width), with_boxes(image, boxes[:count], zoom)]
    columns.append(enlarge(reconstruction, height, width))
    if background is not None:
        columns.append(enlarge(background, height, width))
    for step, (glimpse, recon, score) in enumerate(zip(glimpses, glimpse_recons, scores)):
        column = Image.new("RGB", (side, height), BACKGROUND)
        column.paste(enlarge(glimpse, side, side), (0, 0))
        column.paste(enlarge(recon, side, side), (0, side))
        if step >= count:
            column = Image.blend(column, Image.new("RGB", column.size, BACKGROUND), 0.75)
        draw = ImageDraw.Draw(column)
        text = f"{score:.0%}"
        draw.text(
            (2, height - LINE + 2), text, fill=colour_of_step(step), font=ImageFont.load_default(13)
        )
        columns.append(column)
    row = Image.new("RGB", (sum(c.width + MARGIN for c in columns) - MARGIN, height), BACKGROUND)
    left = 0
    for column in columns:
        row.paste(column, (left, 0))
        left += column.width + MARGIN
    return row


def scene_rows(images, scene, corners, glimpses, glimpse_recons) -> np.ndarray:
    """`scene_row` of each image.

    Args:
        images: `(B, H, W, C)`.
        scene: `Scene` of the images.
        corners: `(B, N, 4, 2)`, of the windows.
        glimpses: `(B, N, h, w, C)`.
        glimpse_recons: `(B, N, h, w, C)`.

    Returns:
        `(B, height, width, 3)` uint8.
    """
    backgrounds = scene.backgrounds if scene.backgrounds.any() else [None] * len(images)
    columns = zip(
        images, corners, scene.reconstructions, backgrounds, glimpses, glimpse_recons, scene.scores,
        scene.counts,
    )  # fmt: skip
    return np.stack([np.asarray(scene_row(*row)) for row in columns])


def samples_picture(
    rows: np.ndarray, image_width: int, background: bool, per_line: int = 2
) -> Image.Image:
    """`scene_rows` under a heading, `per_line` side by side.

    Args:
        rows: `(B, height, width, 3)` uint8.
        image_width: of the images that the rows show, in pixels.
        background: whether the rows show one.
        per_line: rows side by side.
    """
    count, row_height, row_width, _ = rows.shape
    line_height, pitch = row_height + MARGIN, row_width + 3 * MARGIN
    lines = -(-count // per_line)
    size = MARGIN + per_line * pitch - 2 * MARGIN, LINE + MARGIN + lines * line_height
    picture = Image.new("RGB", size, BACKGROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    headings = *HEADINGS, *["background"] * background, OF_STEPS
    for i, row in enumerate(rows):
        left = MARGIN + i % per_line * pitch
        picture.paste(Image.fromarray(row), (left, LINE + MARGIN + i // per_line * line_height))
        if i < per_line:
            for column, heading in enumerate(headings):
                place = left + column * (image_width * ZOOM + MARGIN), 4
                draw.text(place, heading, fill=TEXT, font=font)
    return picture
