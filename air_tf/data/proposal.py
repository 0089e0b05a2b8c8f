"""Settings proposed for one's own pictures, from a look at some of them."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from air_tf.appearance import LONGEST_SIDE, Appearance, Objects, appearance, find_objects, shared_ground
from air_tf.image_files import LARGEST_IN_PARTS, picture_size, read_picture
from air_tf.paths import shown

LOOKED_AT = 40  # pictures, spread over the files, or parts of pictures
CLOSE = 12  # pixels that an object's side should have; if it has fewer, parts of pictures are looked at,
CLOSER = 4  # times as large as before
EVEN = 0.2  # share of the objects' contrast by which a ground may vary and still count as one colour
COLOURFUL = 0.25  # of the objects' contrast that their colours differ from grey by
ONE_WAY = 0.9  # of what stands out that is darker, or lighter, than the ground
OBJECT_SIDE = 9  # pixels of the model's image that an object's side has, of whole pictures
CROPPED_SIDE = 14  # the same, of crops
CROP = 3  # sides of an object that a crop's side has
LEAST_SIDE, MOST_SIDE = 32, 128  # pixels of the model's images
# Objects that stand out less, in white pixels on black of the model's image, are counted better with
# these, and some are not found without them: see experiments.changes
FAINT, FOR_FAINT = 15, {"attention_gain": 3.0, "pixel_scale": 0.2}
FEWEST = 100  # pictures, below which crops of them are needed
FEW_OBJECTS = 20  # seen in all, below which one is never sure how many there can be
FAIRLY = 0.3  # the doubt from which on one is only fairly sure
MANY = 3  # objects, above which the networks are those for many
MOST_OBJECTS = 30  # that are proposed
CROPS = 300  # drawn to see how many objects one has


class Given(NamedTuple):
    """What a user has chosen, on which other settings depend; None where no flag was given."""

    crop: int | None = None
    object_size: float | None = None
    background: str | None = None
    preset: str | None = None


class Proposal(NamedTuple):
    """A preset, settings that differ from it, and lines that say what was seen."""

    preset: str
    data: dict[str, Any]
    model: dict[str, Any]
    lines: list[str]


class Look(NamedTuple):
    """What was seen of pictures."""

    appearances: list[Appearance]
    objects: Objects | None
    shares_ground: bool
    smallest: int  # pixels of the shortest side of all pictures
    size: np.ndarray  # (2,), the median height and width
    number: int  # of pictures
    chosen: int  # of them, that were looked at
    parts: bool = False  # whether only at parts of these, since their objects are small

    @property
    def unevenness(self) -> float:
        """How much a ground varies within a picture, levels: of its surface and of its grain."""
        spans = [np.ptp(a.ground.mean(axis=-1)) + 2 * a.grain for a in self.appearances]
        return float(np.median(spans))


def look(paths: list[Path]) -> Look:
    """Looks at some pictures, and at others in place of those that are broken.

    Raises:
        ValueError: none can be read.
    """
    spread, read = paths[:: -(-len(paths) // LOOKED_AT)], {}
    for path in dict.fromkeys(spread + paths):
        try:
            read[path] = appearance(read_picture(path, largest=LARGEST_IN_PARTS))
        except ValueError:
            continue  # reported when all are read
        if len(read) == len(spread):
            break
    if not read:
        raise ValueError(
            f"Expected pictures that can be read. Received: {len(paths):,} that cannot, "
            f"{shown(paths[0])} among them."
        )
    chosen, seen = [*read], [*read.values()]
    ground = shared_ground(seen)
    if ground is not None:
        seen = [each._replace(ground=ground) for each in seen]
    objects, parts = find_objects(seen), False
    while ground is None and (shrunk := _median_shrunk(seen)) > 1 and _are_small(objects, shrunk):
        seen = _parts(chosen, max(1.0, shrunk / CLOSER))
        objects, parts = find_objects(seen), True
    sizes = np.array(readable_sizes(paths))
    return Look(
        seen,
        objects,
        ground is not None,
        int(sizes.min()),
        np.median(sizes, axis=0),
        len(sizes),
        len(chosen),
        parts,
    )


def _median_shrunk(seen: list[Appearance]) -> float:
    return float(np.median([each.shrunk for each in seen]))


def _are_small(objects: Objects | None, shrunk: float) -> bool:
    """Whether objects are too small to be measured, or so small that none was seen."""
    return objects is None or bool(np.median(objects.sizes) < CLOSE * shrunk)


def _parts(paths: list[Path], shrunk: float) -> list[Appearance]:
    """Looks at random parts of pictures, each shrunk by this factor."""
    random, seen, side = np.random.default_rng(0), [], round(LONGEST_SIDE * shrunk)
    for path in paths:
        picture = read_picture(path, largest=LARGEST_IN_PARTS)
        room = np.maximum(0, np.array(picture.shape[:2]) - side)
        for top, left in random.integers(room, endpoint=True, size=(max(1, LOOKED_AT // len(paths)), 2)):
            seen.append(appearance(picture[top : top + side, left : left + side]))
    return seen


def readable_sizes(paths: list[Path]) -> list[tuple[int, int]]:
    """(height, width) of the pictures that can be read, in pixels."""
    sizes = []
    for path in paths:
        try:
            sizes.append(picture_size(path))
        except ValueError:
            continue
    return sizes


def propose(seen: Look, given: Given = Given()) -> Proposal:  # noqa: B008
    """Proposes settings for pictures that look like these."""
    what = "parts of " if seen.parts else ""
    lines = [f"Looked at {what}{seen.chosen} of {seen.number:,} pictures."]
    if seen.objects is None:
        lines.append("Nothing stands out from the ground (unsure of all): the defaults are kept.")
        return Proposal(given.preset or "few_objects", {}, {}, lines)
    polarity, objects_line = _polarity(seen.objects)
    background, ground_line = _background(seen, polarity, given)
    kept = background != "none"
    data: dict[str, Any] = {
        "invert": "yes" if polarity == "dark" and not kept else "no",
        "ground": "keep" if kept else "subtract",
    }
    lines += [f"{objects_line}: --invert {data['invert']} --ground {data['ground']}.", ground_line]
    model: dict[str, Any] = {"background": background, "composition": "over" if kept else "add"}
    data["channels"], line = _channels(seen.objects)
    lines.append(line)
    data["object_size"], line = _object_size(seen.objects, given)
    lines.append(line)
    geometry, line = _geometry(seen, data["object_size"], given)
    lines.append(line)
    model["max_objects"], line = _max_objects(seen, geometry["crop"])
    lines.append(line)
    if not given.preset and (white := _white_pixels(seen, data | geometry)) < FAINT:
        model |= FOR_FAINT
        lines.append(
            f"Detail: objects are faint or small, like {white:.0f} white pixels on black in the model's "
            f"images: --attention-gain {FOR_FAINT['attention_gain']:g} "
            f"--pixel-scale {FOR_FAINT['pixel_scale']:g}."
        )
    many = model["max_objects"] - 1 > MANY
    preset = given.preset or ("many_objects" if many else "few_objects")
    lines.append(f"All else: --preset {preset}. Flags that you give override these.")
    return Proposal(preset, data | geometry, model, lines)


def _sure(doubt: float) -> str:
    """How sure a proposal is, in words, from its doubt; 0 is none."""
    return "sure" if doubt < FAIRLY else "fairly sure" if doubt < 2 * FAIRLY else "unsure"


def _polarity(objects: Objects) -> tuple[str, str]:
    one_way = max(objects.dark, 1 - objects.dark)
    polarity = "dark" if objects.dark > 0.5 else "light"
    if one_way < ONE_WAY:
        polarity = "mixed"
    what = {"dark": "darker than", "light": "lighter than", "mixed": "both darker and lighter than"}
    return polarity, (
        f"Objects: {what[polarity]} their ground by {objects.contrast:.0f} of 255 levels, "
        f"{one_way:.0%} of their area alike ({_sure(objects.doubt)})"
    )


def _background(seen: Look, polarity: str, given: Given) -> tuple[str, str]:
    """Which background, and why."""
    contrast = seen.objects.contrast if seen.objects else 1.0
    varies = seen.unevenness / contrast
    even = varies < EVEN
    background = "none" if even and polarity != "mixed" and not seen.shares_ground else "vae"
    if seen.shares_ground or (even and background != "none"):
        background = "mean"
    what = "the same in all pictures" if seen.shares_ground else "even" if even else "uneven or grainy"
    background = given.background or background
    composition = "add" if background == "none" else "over"
    # the further from where the choice changes, the surer
    doubt = 0.0 if seen.shares_ground else float(0.6 * min(varies / EVEN, EVEN / max(varies, 1e-9)))
    return background, (
        f"Ground: {what}, varies by {seen.unevenness:.0f} levels, {varies:.0%} of the contrast "
        f"({_sure(doubt)}): --background {background} --composition {composition}."
    )


def _channels(objects: Objects) -> tuple[int, str]:
    channels = 3 if objects.chroma > COLOURFUL else 1
    doubt = 0.6 * min(objects.chroma / COLOURFUL, COLOURFUL / max(objects.chroma, 1e-9))
    what = "their own" if channels == 3 else "hardly any"
    return channels, (
        f"Colour: the objects have {what}, {objects.chroma:.0%} of the contrast ({_sure(doubt)}): "
        f"--channels {channels}."
    )


def _object_size(objects: Objects, given: Given) -> tuple[float, str]:
    low, size, high = np.percentile(objects.sizes, [25, 50, 75])
    chosen = given.object_size or float(round(size, 1))
    return chosen, (
        f"Size: about {size:.0f} pixels, half of the objects from {low:.0f} to {high:.0f} "
        f"({_sure(high / low - 1)}): --object-size {chosen:g}."
    )


def _geometry(seen: Look, object_size: float, given: Given) -> tuple[dict[str, Any], str]:
    """Whole pictures or crops, and the size of the model's images."""
    sides = seen.size * OBJECT_SIDE / object_size
    fits = sides.max() <= MOST_SIDE and seen.number >= FEWEST
    crop = given.crop if given.crop is not None else 0 if fits else _crop(seen, object_size)
    if crop:
        sides = np.full(2, crop * CROPPED_SIDE / object_size)
    height, width = np.clip(8 * np.ceil(sides / 8), LEAST_SIDE, MOST_SIDE).astype(int).tolist()
    why = "few pictures" if seen.number < FEWEST else "small objects"
    reason = "as given" if given.crop else f"since there are {why}"
    what = f"crops of {crop} pixels, {reason}" if crop else "whole pictures"
    return {"crop": crop, "image_size": (height, width)}, (
        f"Images: {what}: --crop {crop} --image-size {height} {width}."
    )


def _crop(seen: Look, object_size: float) -> int:
    """The side of a crop, in pixels of the pictures; 0 where an object has no room in one."""
    room = int(max(seen.size)) // 2 if seen.number == 1 else seen.smallest
    crop = min(round(CROP * object_size), room, seen.smallest)
    return crop if crop >= object_size else 0


def _white_pixels(seen: Look, data: dict[str, Any]) -> float:
    """How much an object stands out in the model's images, in white pixels on black, in all channels."""
    assert seen.objects is not None
    shown = np.full(2, data["crop"]) if data["crop"] else seen.size
    scale = (np.array(data["image_size"]) / shown).min()
    return float(np.median(seen.objects.whiteness) * scale**2 * data["channels"])


def _max_objects(seen: Look, crop: int) -> tuple[int, str]:
    """One more than are seen in a picture, or in a crop of one."""
    assert seen.objects is not None
    most = int(seen.objects.counts.max())
    if crop:
        most = _most_in_crops(seen, crop)
    if seen.parts:  # there may be more in what is larger than they
        part = seen.appearances[0]
        of_part = np.prod(part.pixels.shape[:2]) * part.shrunk**2
        most = math.ceil(most * max(1.0, (crop**2 or np.prod(seen.size)) / of_part))
    chosen = int(np.clip(most + 1, 2, MOST_OBJECTS))
    few = len(seen.objects.sizes) < FEW_OBJECTS
    doubt = max(seen.objects.doubt, FAIRLY) if few else seen.objects.doubt
    return chosen, (
        f"Number: up to {most} in {'a crop' if crop else 'a picture'} ({_sure(doubt)}): "
        f"--max-objects {chosen}, one more."
    )


def _most_in_crops(seen: Look, crop: int) -> int:
    assert seen.objects is not None
    random, most = np.random.default_rng(0), 0
    for _ in range(CROPS):
        i = random.integers(len(seen.appearances))
        each, places = seen.appearances[i], seen.objects.places[i]
        room = np.maximum(np.array(each.pixels.shape[:2]) * each.shrunk - crop, 0)
        corner = random.uniform(0, room)
        most = max(most, int(((places >= corner) & (places < corner + crop)).all(axis=-1).sum()))
    return most
