"""An evaluation as files: figures, a page that opens without a network, TensorBoard's projector."""

import base64
import html
import itertools
import os
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.plugins import projector

from air_tf import drawing
from air_tf.air import AIR
from air_tf.cli import table
from air_tf.data.split import UNKNOWN, Split
from air_tf.evaluation import metrics, plots
from air_tf.evaluation.evaluate import canvases, pixel_errors
from air_tf.evaluation.glimpses import SIDE, crops, glimpses_and_recons
from air_tf.scene import Scene
from air_tf.serving.predictor import Predictor

SHOWN = 6  # images of a progress figure
SAMPLE_COLUMNS = 8  # of samples from the prior
TRAVERSED, TRAVERSAL = 6, np.linspace(-3, 3, 7)  # dimensions of z_what; their values
SPRITES = 4000  # glimpses in the projector: TensorBoard takes a sprite image of at most 8192 pixels

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 2em auto; padding: 0 1em; }}
img {{ max-width: 100%; }} figure {{ margin: 2em 0; }} figcaption {{ color: #555; }}
pre {{ background: #f4f4f4; padding: 1em; overflow-x: auto; }}
</style></head><body><h1>{title}</h1><pre>{numbers}</pre>
<p>Accuracies, precisions, IoU and index are fractions; errors of counts are in objects, of centres in
pixels, of pixels in squared units of full brightness; the ELBO and its parts are in nats.</p>
{figures}
</body></html>
"""


def make_figures(model: Predictor, scene: Scene, split: Split, history: list[dict]) -> dict:
    """The figures of a report by name: pairs of a caption and a matplotlib figure.

    Args:
        model: `AIR` or `serving.ServedModel`; the latter has no prior to sample from.
        scene: of all the split's images, as arrays.
        split: images.
        history: evaluations while training, may be empty.
    """
    labelled = split.labelled()
    errors = pixel_errors(scene, split)
    wrong = np.flatnonzero(labelled & (scene.counts != split.counts))
    ranked = wrong if labelled.any() else np.arange(len(split))
    worst = ranked[np.argsort(-errors[ranked])][:SHOWN]
    shape = split.image_shape
    result = {
        "progress": (
            "Step by step: the reconstruction so far, what the step looked at, what it decoded.",
            progress(model, scene, split, split.examples(SHOWN)),
        ),
        "counts": (
            "How many objects the images are given.",
            plots.count_histogram(scene.counts, scene.boxes.shape[1]),
        ),
        "where": (
            "Where each step finds its objects.",
            plots.where_heat_map(scene.tight_boxes, scene.counts, shape),
        ),
    }
    if code := code_of(scene):
        caption = (
            f"One number of z_{code} changed at a time, those that vary most, the others as inferred."
        )
        result["traversal"] = (caption, traversal(model, scene, code))
    if labelled.any():
        matrix = metrics.confusion_matrix(scene.counts[labelled], split.counts[labelled])
        result["confusion"] = ("True and inferred counts.", plots.confusion(matrix))
    if history and history[-1]["count_accuracy"] is not None:
        caption = "Count accuracy on held-out images while training."
        result["accuracy"] = (caption, plots.accuracy_over_training(history))
    if isinstance(model, AIR):
        counts = np.repeat(np.arange(1, model.config.max_objects + 1), SAMPLE_COLUMNS)
        samples = np.asarray(model.generate(len(counts), counts=counts))
        caption = (
            f"Samples from the prior, given 1 to {model.config.max_objects} objects: one row per count."
        )
        result["samples"] = (caption, plots.picture_grid(samples, SAMPLE_COLUMNS))
    if len(worst):
        of = f"the {len(wrong):,} images counted wrong" if labelled.any() else "all images"
        caption = f"Failures: the worst reconstructions of {of}."
        result["failures"] = (caption, progress(model, scene, split, worst))
    return result


def progress(model: Predictor, scene: Scene, split: Split, chosen: np.ndarray):
    """The progress figure of the chosen images, with both counts above each."""
    part, seen = split[chosen], scene.part(chosen)
    images, drawn, layers = part.float_images(), canvases(model, seen), model.layers_of(seen)
    glimpses, recons = glimpses_and_recons(images, layers)
    titles = [
        f"image {i}: " + (f"{true} there, " if true != UNKNOWN else "") + f"{found} found"
        for i, true, found in zip(chosen, part.counts, seen.counts)
    ]
    return plots.progress(
        images, drawn, layers.corners, glimpses, recons, seen.scores, seen.counts, titles
    )


def code_of(scene: Scene) -> str | None:
    """The name of the objects' largest latent, which is their code; None if they are read, not coded."""
    if scene.readings:
        return None
    sizes = {name: values.shape[-1] for name, values in scene.latents.items() if values.ndim == 3}
    return max(sizes, key=lambda name: sizes[name])


def traversal(model: Predictor, scene: Scene, code: str):
    """What the first object found turns into along the dimensions of its code that vary most."""
    present = np.arange(scene.boxes.shape[1]) < scene.counts[:, None]
    image, step = np.argwhere(present)[0] if present.any() else (0, 0)
    codes = scene.latents[code]
    spread = (codes[present] if present.any() else codes[:, 0]).var(axis=0)
    dimensions = np.argsort(-spread)[:TRAVERSED]
    of_one = scene.part(np.full(len(dimensions) * len(TRAVERSAL), image))
    for i, (dimension, value) in enumerate(itertools.product(dimensions, TRAVERSAL)):
        of_one.latents[code][i, step, dimension] = value
    _, recons = glimpses_and_recons(np.asarray(of_one.reconstructions), model.layers_of(of_one))
    shape = len(dimensions), len(TRAVERSAL), *recons.shape[2:]
    return plots.traversal(recons[:, step].reshape(shape), TRAVERSAL, dimensions)


def write_page(title: str, numbers: dict, captioned: dict, folder: Path) -> None:
    """Writes `figures/NAME.png`, and `report.html` with the figures inside of it."""
    (folder / "figures").mkdir()
    parts = []
    for name, (caption, figure) in captioned.items():
        path = folder / "figures" / f"{name}.png"
        figure.savefig(path, dpi=plots.DPI)
        data = base64.b64encode(path.read_bytes()).decode()
        caption = html.escape(caption)
        parts.append(
            f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    page = PAGE.format(
        title=html.escape(title), numbers=html.escape(table(numbers)), figures="\n".join(parts)
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def object_labels(scene: Scene, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inferred objects: their image, step and the label of the true object they match, or -1."""
    image_of, step_of, labels = [], [], []
    for i, (count, true_count) in enumerate(zip(scene.counts, split.counts)):
        found = np.full(count, -1)
        there = split.boxes[i, : max(0, true_count)]
        rows, columns = metrics.match_pairs(scene.boxes[i, :count], there)
        touch = metrics.pairwise_iou(scene.boxes[i, :count], there)[rows, columns] > 0
        found[rows[touch]] = split.labels[i, columns[touch]]
        image_of.extend([i] * count)
        step_of.extend(range(count))
        labels.extend(found)
    return np.array(image_of, int), np.array(step_of, int), np.array(labels, int)


def write_projector(scene: Scene, split: Split, folder: Path) -> int:
    """Writes codes, labels and pictures of up to SPRITES objects for TensorBoard's projector.

    Args:
        scene: of the split's images, as arrays.
        split: images.
        folder: the run's, which TensorBoard reads.

    Returns:
        The number of objects; without any, or if they have no code, nothing is written.
    """
    code = code_of(scene)
    image_of, step_of, labels = (values[:SPRITES] for values in object_labels(scene, split))
    if code is None or not len(labels):
        return 0
    glimpses = crops(split[image_of].float_images(), scene.boxes[image_of, step_of][:, drawing.CORNERS])
    rows = (f"{label}\t{step + 1}\t{i}" for i, step, label in zip(image_of, step_of, labels))
    target = folder / "projector"
    target.mkdir(exist_ok=True)
    names = f"z_{code}.tsv", "metadata.tsv", "sprites.png"
    table, metadata, sprites = parts = [target / f".{name}.part" for name in names]
    np.savetxt(table, scene.latents[code][image_of, step_of], "%.5g", delimiter="\t")
    metadata.write_text("\n".join(["digit\tstep\timage", *rows]) + "\n")
    _sprites(glimpses).save(sprites, "png")
    for part, name in zip(parts, names):
        os.replace(part, target / name)

    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name, embedding.tensor_path = f"z_{code}", f"projector/z_{code}.tsv"
    embedding.metadata_path = "projector/metadata.tsv"
    embedding.sprite.image_path = "projector/sprites.png"
    embedding.sprite.single_image_dim.extend([SIDE, SIDE])
    projector.visualize_embeddings(str(folder), config)
    return len(labels)


def _sprites(glimpses: np.ndarray) -> Image.Image:
    """`(n, h, w, C)` row by row in a square of pictures."""
    side = int(np.ceil(np.sqrt(len(glimpses))))
    sheet = Image.new("RGB", (side * SIDE, side * SIDE))
    for i, glimpse in enumerate(glimpses):
        place = i % side * SIDE, i // side * SIDE
        sheet.paste(drawing.enlarge(glimpse, SIDE, SIDE), place)
    return sheet
