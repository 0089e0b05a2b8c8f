"""Omniglot: handwritten characters of many alphabets, as images of a few strokes each.

References:
    [1] Lake, Salakhutdinov and Tenenbaum 2015, Human-level concept learning through probabilistic
        program induction. Science 350(6266), 1332-1338. https://github.com/brendenlake/omniglot
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar, NamedTuple

import numpy as np
from tqdm import tqdm

from air_tf.data.archives import open_member, open_zip
from air_tf.data.base import Dataset, DatasetBase
from air_tf.data.cache import contents, fingerprint
from air_tf.data.downloads import check_can_be_had, reason_of
from air_tf.data.split import COPIES, Split
from air_tf.image_files import read_picture
from air_tf.memory import check_memory
from air_tf.parts import kind
from air_tf.paths import expand, shown
from air_tf.preparation import Preparation, Shape, fit
from air_tf.validation import ModelSide, Text, settings

URL = "https://github.com/brendenlake/omniglot"
HELD_OUT = "images_evaluation"  # the original's alphabets to test with
ONE_IN = 4  # alphabets, in order of their names, is held out where there are none of them
LAYOUT = "images_background/ALPHABET/character01/*.png"
MOST_DRAWING_BYTES = 2**20  # of a PNG file; the original's have some 250


class Drawing(NamedTuple):
    """A character as somebody drew it."""

    held_out: bool  # by the original
    alphabet: str
    picture: np.ndarray  # (h, w, 1) uint8, dark ink on white


def omniglot_paths(path: Path) -> list[Path]:
    """The zips and the PNG files in a folder, or the zip itself."""
    if path.is_file():
        return [path]
    zips, pngs = sorted(path.glob("*.zip")), sorted(path.glob("**/*.png"))
    return [name for name in zips + pngs if os.path.isfile(name)]


def omniglot_files(path: Path) -> Iterator[Drawing]:
    """The drawings in a folder or a zip, or in the zips of a folder, each once.

    Args:
        path: of the original layout, SET/ALPHABET/CHARACTER/FILE.png; the small background sets of [1]
            have drawings in common.

    Raises:
        ValueError: a file is no zip or no picture, is not in this layout, or is too large.
    """
    seen = set()
    for name, content in _pngs(path):
        parts = PurePosixPath(name).parts[-4:]
        if len(parts) < 4:
            raise ValueError(f"Expected Omniglot's {LAYOUT}. Received: {shown(name)}.")
        collection, *drawing = parts
        ours = collection.startswith("images_") and not drawing[-1].startswith("._")  # a Mac's
        if ours and tuple(drawing) not in seen:
            seen.add(tuple(drawing))
            file = io.BytesIO(content)
            file.name = name
            yield Drawing(collection == HELD_OUT, drawing[0], read_picture(file, 1))


def _pngs(path: Path) -> Iterator[tuple[str, bytes]]:
    """The PNG files in a folder, in its zips, or in a zip: name and content."""

    def bounded(file, name):
        content = file.read(MOST_DRAWING_BYTES + 1)
        if len(content) > MOST_DRAWING_BYTES:
            raise ValueError(f"{name} of over {MOST_DRAWING_BYTES:,} bytes")
        return content

    for found in omniglot_paths(path):
        try:
            if found != path and found.suffix == ".png":
                with open(found, "rb") as file:
                    yield str(found.relative_to(path)), bounded(file, found.name)
                continue
            with open_zip(found) as archive:
                for member in sorted(archive.infolist(), key=lambda member: member.filename):
                    if member.filename.endswith(".png"):
                        with open_member(archive, member) as file:
                            yield member.filename, bounded(file, member.filename)
        except Exception as error:  # zipfile and zlib raise many kinds on a damaged file
            raise ValueError(
                f"Expected drawings of Omniglot, or zips of them. Received: {shown(found)}: "
                f"{shown(error)}"
            ) from error


def omniglot_tfds() -> Iterator[Drawing]:
    """The drawings through tensorflow-datasets, which downloads them when they are not there yet."""
    import tensorflow_datasets as tfds  # slow to import

    check_can_be_had("omniglot", URL)
    for split in "train", "test":
        for example in tfds.as_numpy(tfds.load("omniglot", split=split)):
            yield Drawing(split == "test", str(example["alphabet"]), example["image"][..., :1])


def omniglot(drawings: Iterator[Drawing], image_shape: Shape) -> dict[str, Split]:
    """The splits `train` and `test`, of other alphabets.

    Raises:
        ValueError: there are fewer than two alphabets, or more drawings than fit into memory.
    """
    images, alphabets, held_out = [], [], []
    for drawing in tqdm(drawings, "Reading Omniglot", unit=" drawings", leave=False):
        image, _ = fit(drawing.picture, image_shape, Preparation(dark_objects=True))
        images.append(image)
        check_memory(COPIES * len(images) * image.size, f"drawings of {image.shape} pixels")
        alphabets.append(drawing.alphabet)
        held_out.append(drawing.held_out)
    names = sorted(set(alphabets))
    if len(names) < 2:
        raise ValueError(f"Expected drawings of two alphabets at least. Received: {len(names)}.")
    tested = names[ONE_IN - 1 :: ONE_IN] or names[-1:]
    both = any(held_out) and not all(held_out)  # parts of the original split
    is_test = np.array(held_out if both else [name in tested for name in alphabets])
    split = Split.unlabelled(np.stack(images))
    return {"train": split[~is_test], "test": split[is_test]}


@settings
class OmniglotSettings(DatasetBase):
    """Handwritten characters of many alphabets, a few strokes each."""

    places: ClassVar[set[str]] = DatasetBase.places | {"omniglot"}

    dataset: kind("omniglot") = "omniglot"

    omniglot: Text = ""
    """A folder or a zip in Omniglot's original layout (images_background/ALPHABET/...), or a folder of
    such zips (default: through tensorflow-datasets)."""

    image_size: tuple[ModelSide, ModelSide] = (50, 50)
    """(height, width) in pixels to fit pictures into, their shape kept."""

    def load(self) -> Dataset:
        fields = {"image_shape": (*self.image_size, 1), "dark_objects": True}
        if self.omniglot:
            path = expand(self.omniglot)
            files = omniglot_paths(path)
            if not files:
                raise ValueError(f"Expected Omniglot's {LAYOUT} or its zips. Received: {shown(path)}.")
            version, source = fingerprint(contents(files)), shown(path)
            drawings = omniglot_files(path)
        else:
            version, source, drawings = "tfds", "tensorflow-datasets", omniglot_tfds()

        def make():
            try:
                return omniglot(drawings, fields["image_shape"])
            except ValueError:
                raise
            except Exception as error:  # whatever a download, a disk or a proxy may raise
                raise ValueError(
                    "Expected Omniglot through tensorflow-datasets, or from --omniglot FOLDER_OR_ZIP. "
                    f"Received: {reason_of(error)}"
                ) from error

        splits = self.kept(fingerprint(version, fields), make, fields["image_shape"])
        sizes = {name: len(split) for name, split in splits.items()}
        description = (
            f"Omniglot from {source}: {sizes['train']:,} drawings to train on, {sizes['test']:,} of "
            "other alphabets held out."
        )
        return Dataset(splits, self, version, description, fields)
