"""The endpoints of a served model: what each takes and gives, and what it refuses inside the graph."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from air_tf.preparation import in_original, prepare_encoded

NAMES = "serving_default", "encoded", "prepare", "decode", "layers"
LARGEST_BATCH = 4096  # images of a request
LARGEST_LATENT = 1e6  # beyond any that is inferred or drawn from the prior, and safe to compute with

Specs = dict[str, dict[str, tf.TensorSpec]]  # of each endpoint's tensors


class Endpoints(NamedTuple):
    """The endpoints of models of one size, all with a dynamic batch."""

    image_shape: tuple[int, int, int]  # (height, width, channels)
    max_objects: int
    latents: dict[str, int]  # sizes of an object's latents, by their names
    behind: dict[str, int]  # sizes of a background's latents, by their names
    readings: dict[str, tf.TensorSpec]  # what is read from an object's latents, by name: (B, N, ...)

    @property
    def inputs(self) -> Specs:
        """What each endpoint takes."""
        image_bytes = {"image_bytes": tf.TensorSpec((None,), tf.string, "image_bytes")}
        return {
            "serving_default": {
                "images": tf.TensorSpec((None, *self.image_shape), tf.float32, "images")
            },
            "encoded": image_bytes,
            "prepare": image_bytes,
            "decode": self._objects,
            "layers": self._objects,
        }

    @property
    def _objects(self) -> dict[str, tf.TensorSpec]:
        """Counts, and the latents of N objects and of the background per image."""
        shapes = {name: (None, self.max_objects, size) for name, size in self.latents.items()}
        shapes |= {name: (None, size) for name, size in self.behind.items()}
        return {"counts": tf.TensorSpec((None,), tf.int32, "counts")} | {
            f"z_{name}": tf.TensorSpec(shape, tf.float32, f"z_{name}") for name, shape in shapes.items()
        }

    @property
    def outputs(self) -> Specs:
        """What each endpoint gives: the fields of a `Scene`, or images."""
        objects = (None, self.max_objects)
        images = tf.TensorSpec((None, *self.image_shape))
        scene = {
            **self._objects,
            "count_probs": tf.TensorSpec((None, self.max_objects + 1)),
            "boxes": tf.TensorSpec((*objects, 4)),
            "tight_boxes": tf.TensorSpec((*objects, 4)),
            "scores": tf.TensorSpec(objects),
            "reconstructions": images,
            "backgrounds": images,
            **self.readings,
        }
        of_images = {"images": images}
        layers = {
            "layers": tf.TensorSpec((*objects, *self.image_shape)),
            "masks": tf.TensorSpec((*objects, *self.image_shape[:2])),
            "corners": tf.TensorSpec((*objects, 4, 2)),
        }
        return {
            "serving_default": scene, "encoded": scene, "prepare": of_images, "decode": of_images,
            "layers": layers,
        }  # fmt: skip

    @classmethod
    def of(cls, inputs: Specs, outputs: Specs, place) -> "Endpoints":
        """The endpoints of a SavedModel, by the tensors that it says it takes and gives.

        Args:
            inputs: of each of its signatures.
            outputs: of each of its signatures.
            place: where it is, for the error.

        Raises:
            ValueError: they are not those of `export`.
        """
        expected = f"Expected a SavedModel with the endpoints of air export in {place}."
        if missing := sorted(set(NAMES) - set(inputs)):
            has = ", ".join(sorted(inputs)) or "none"
            raise ValueError(f"{expected} Received: {', '.join(missing)} missing; it has: {has}.")
        try:
            _, *image_shape = inputs["serving_default"]["images"].shape.as_list()
            shapes = {
                name[2:]: spec.shape.as_list()[1:]
                for name, spec in inputs["decode"].items()
                if name.startswith("z_")
            }
            max_objects = next(shape[0] for shape in shapes.values() if len(shape) == 2)
            latents = {name: shape[1] for name, shape in shapes.items() if len(shape) == 2}
            behind = {name: shape[0] for name, shape in shapes.items() if len(shape) == 1}
            height, width, channels = image_shape
            endpoints = cls((height, width, channels), max_objects, latents, behind, {})
            sizes = (*image_shape, max_objects, *latents.values(), *behind.values())
            if not all(isinstance(size, int) and size > 0 for size in sizes):
                raise ValueError(f"the sizes {endpoints}")
            known, given = endpoints.outputs["serving_default"], outputs["serving_default"]
            readings = {name: spec for name, spec in given.items() if name not in known}
            for name, spec in readings.items():
                if spec.shape.rank < 2 or spec.shape[1] != max_objects:
                    raise ValueError(f"an output {name} of the shape {spec.shape}")
            endpoints = endpoints._replace(readings=readings)
            for kind, declared in ("inputs", inputs), ("outputs", outputs):
                for name, specs in getattr(endpoints, kind).items():
                    if not _fit(declared[name], specs):
                        raise ValueError(f"{kind} of {name}: {', '.join(sorted(declared[name]))}")
        except (KeyError, StopIteration, TypeError, ValueError) as error:
            raise ValueError(f"{expected} Received: others: {error}.") from error
        return endpoints


def _fit(declared: dict[str, tf.TensorSpec], specs: dict[str, tf.TensorSpec]) -> bool:
    """Whether the tensors are the same ones, of the same types, and of shapes that go together."""
    return set(declared) == set(specs) and all(
        declared[name].dtype == spec.dtype and declared[name].shape.is_compatible_with(spec.shape)
        for name, spec in specs.items()
    )


def endpoint_functions(model) -> dict[str, Callable]:
    """What each endpoint of an `AIR` computes, to be traced with the specs of `Endpoints.inputs`.

    What they refuse is an InvalidArgumentError, before anything large is computed: TF Serving makes
    INVALID_ARGUMENT of it.
    """

    config = model.config

    def serving_default(images):
        (images,) = _bounded(images)
        return model(_check_pixels(images)).outputs()

    def prepared(image_bytes):
        return prepare_encoded(*_bounded(image_bytes), config.image_shape, config.preparation)

    def encoded(image_bytes):
        images, edges = prepared(image_bytes)
        return in_original(model(images), edges).outputs()

    def prepare(image_bytes):
        return {"images": prepared(image_bytes)[0]}

    def decode(counts, *latents):
        return {"images": model.draw(*_check_objects(model, counts, latents))}

    def layers(counts, *latents):
        return model.draw_layers(*_check_objects(model, counts, latents))._asdict()

    return {f.__name__: f for f in (serving_default, encoded, prepare, decode, layers)}


def _bounded(*batches: tf.Tensor) -> list[tf.Tensor]:
    """The batches, whose sizes are found to be the same and neither 0 nor too large."""
    sizes = tf.stack([tf.shape(batch)[0] for batch in batches])
    valid = tf.reduce_all((sizes >= 1) & (sizes <= LARGEST_BATCH) & (sizes == sizes[0]))
    message = f"Expected from 1 to {LARGEST_BATCH:,} images, as many in each input. Received:"
    with tf.control_dependencies([tf.debugging.Assert(valid, [message, sizes])]):
        return [tf.identity(batch) for batch in batches]


def _check_pixels(images: tf.Tensor) -> tf.Tensor:
    """The images, which are found to be what `scene.check_images` takes."""
    valid = tf.reduce_all((images >= 0.0) & (images <= 1.0))  # false for NaN too
    message = "Expected pixels in [0, 1]. Received: others, or NaN; from, to:"
    with tf.control_dependencies([tf.debugging.Assert(valid, [message, *_range(images)])]):
        return tf.identity(images)


def _check_objects(model, counts, latents) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """The counts and the latents by their names, which are found to be objects that can be drawn."""
    counts, *latents = _bounded(counts, *latents)
    objects, most = model.objects, model.config.max_objects
    named = dict(zip([*objects.sizes, *model.background.sizes], latents))
    drawable = objects.drawable(named) | ~tf.sequence_mask(counts, most)
    largest = tf.reduce_max([tf.reduce_max(tf.abs(latent)) for latent in latents])
    finite = [tf.reduce_all(tf.abs(latent) <= LARGEST_LATENT) for latent in latents]  # not of NaN
    checks = [
        tf.debugging.Assert(
            tf.reduce_all((counts >= 0) & (counts <= most)),
            [f"Expected counts from 0 to {most}. Received: from, to:", *_range(counts)],
        ),
        tf.debugging.Assert(
            tf.reduce_all(finite),
            [f"Expected latents from {-LARGEST_LATENT:g} to {LARGEST_LATENT:g}. Received: others, or "
             "NaN; the largest:", largest],
        ),
        tf.debugging.Assert(
            tf.reduce_all(drawable),
            ["Expected objects with scales above 0. Received others, so many:",
             tf.reduce_sum(tf.cast(~drawable, tf.int32))],
        ),
    ]  # fmt: skip
    with tf.control_dependencies(checks):
        return tf.identity(counts), {name: tf.identity(latent) for name, latent in named.items()}


def _range(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.reduce_min(values), tf.reduce_max(values)
