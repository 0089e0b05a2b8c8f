"""Inferred scenes on a table, drawn anew: as they were seen, from elsewhere, and from above."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from air_tf.data.split import Split
from air_tf.data.table_top import Poses, rendered
from air_tf.rendering.solids import Solid
from air_tf.scene import Scene

VIEWS = {"as seen": (0, 0), "from the left": (-60, 5), "from the right": (60, 5)}  # degrees: turn, up
SHOWN = 6  # scenes in a figure
CELL = 1.6  # inches


def inferred_poses(scene: Scene) -> Poses:
    """What a scene says of its solids, seen by the usual camera."""
    read = scene.readings
    usual = np.zeros((*read["angles"].shape, 2))
    numbers = np.concatenate([read["positions"], read["angles"][..., None], usual], axis=-1)
    return Poses(scene.counts, read["classes"], numbers)


def views(solids: tuple[Solid, ...], scene: Scene, split: Split) -> Figure:
    """A row for each of the images with the most solids: the image, what was inferred, and from above.

    Args:
        solids: which there are.
        scene: of all the split's images, as arrays.
        split: images, with their true poses.
    """
    chosen = np.argsort(-split.counts, kind="stable")[:SHOWN]
    part, found = split[chosen], inferred_poses(scene.part(chosen))
    pictures = {"image": part.float_images()}
    for name, direction in VIEWS.items():
        numbers = found.numbers.copy()
        numbers[..., 3:] = np.radians(direction)
        drawn, *_ = rendered(solids, split.image_shape[0], found._replace(numbers=numbers))
        pictures[name] = np.clip(drawn, 0, 1)
    columns = len(pictures) + 1
    figure = Figure(figsize=(CELL * columns, CELL * len(chosen)), layout="constrained")
    grid = figure.subplots(len(chosen), columns, squeeze=False)
    for row, axes in enumerate(grid):
        for of_picture, (name, images) in zip(axes, pictures.items()):
            of_picture.imshow(images[row])
            of_picture.set_axis_off()
            if row == 0:
                of_picture.set_title(name, fontsize=9)
        from_above(axes[-1], solids, Poses.of(part), row, {"ls": "-", "color": "0.6", "lw": 2.5})
        from_above(axes[-1], solids, found, row, {"ls": "--", "color": "tab:red", "lw": 1.2})
    grid[0, -1].set_title("from above", fontsize=9)
    return figure


def from_above(axes, solids: tuple[Solid, ...], poses: Poses, row: int, style: dict) -> None:
    """The outlines of a scene's solids on the table, with a line to the front of those that have one."""
    count = poses.counts[row]
    for kind, (x, y, angle, *_) in zip(poses.classes[row, :count], poses.numbers[row]):
        solid = solids[kind]
        part = max(solid.parts, key=lambda part: part.half[0])
        half, _, _ = part.half
        if part.shape == "box":
            corner = (x - half, y - half)
            turned = {"angle": np.degrees(angle), "rotation_point": "center"}
            axes.add_patch(Rectangle(corner, 2 * half, 2 * half, fill=False, **turned, **style))
        else:
            axes.add_patch(Circle((x, y), half, fill=False, **style))
        if solid.symmetry == 1:
            front = x + half * np.cos(angle), y + half * np.sin(angle)
            axes.plot([x, front[0]], [y, front[1]], **style)
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal", xticks=[], yticks=[])
