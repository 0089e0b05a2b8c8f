"""What infers and decodes: a model, its SavedModel, or one that is served, all called alike."""

import reprlib

import numpy as np
import tensorflow as tf

from air_tf.scene import Array, Layers, Scene, check_images
from air_tf.serving.endpoints import LARGEST_BATCH, Endpoints


class Predictor:
    """Infers scenes from images and files, and draws objects, through its endpoints.

    Batches of any size are taken: the endpoints get them in chunks.

    Raises:
        ValueError: what is given, in any call, is refused, or the endpoint does not answer.
    """

    endpoints: Endpoints
    chunk = LARGEST_BATCH  # images that an endpoint is given at a time

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels), in pixels."""
        return self.endpoints.image_shape

    def infer(self, images) -> Scene:
        """Scenes of images.

        Args:
            images: `(B, H, W, C)` array or tensor in [0, 1].

        Raises:
            ValueError: the images have another shape or type, or pixels outside [0, 1].
        """
        check_images(images, self.image_shape)
        return Scene.of(self._call_endpoint("serving_default", images=images))

    def infer_encoded(self, image_bytes) -> Scene:
        """Scenes of PNG or JPEG files `(B,)` of any size; boxes are fractions of the originals."""
        return Scene.of(self._call_endpoint("encoded", image_bytes=image_bytes))

    def prepare(self, image_bytes) -> Array:
        """The images `(B, H, W, C)` that `infer_encoded` looks at."""
        return self._call_endpoint("prepare", image_bytes=image_bytes)["images"]

    def decode(self, counts, **latents) -> Array:
        """Draws the first `counts (B,)` of N objects: `(B, H, W, C)`.

        Args:
            counts: `(B,)`.
            latents: as in a `Scene`, of glimpses `z_what (B, N, D)` and `z_where (B, N, W)`.
        """
        return self._call_endpoint("decode", counts=counts, **latents)["images"]

    def layers_of(self, scene: Scene) -> Layers:
        """What each of the scene's objects draws by itself, and what is seen of it."""
        latents = {f"z_{name}": values for name, values in scene.latents.items()}
        return Layers(**self._call_endpoint("layers", counts=scene.counts, **latents))

    def _predict(self, endpoint: str, inputs: dict[str, tf.Tensor]) -> dict[str, Array]:
        """The outputs of an endpoint for inputs of its types and shapes."""
        raise NotImplementedError

    def _call_endpoint(self, endpoint: str, **inputs) -> dict[str, Array]:
        specs = self.endpoints.inputs[endpoint]
        if inputs.keys() != specs.keys():
            raise ValueError(
                f"Expected {', '.join(specs)} for {endpoint}. Received: {', '.join(inputs)}."
            )
        tensors = {name: _as_tensor(value, specs[name]) for name, value in inputs.items()}
        parts = []
        for start in range(0, max(1, *map(len, tensors.values())), self.chunk):
            part = {name: tensor[start : start + self.chunk] for name, tensor in tensors.items()}
            try:
                parts.append(self._predict(endpoint, part))
            except tf.errors.InvalidArgumentError as error:
                raise ValueError(_as_refusal(reason(str(error)))) from error
        return parts[0] if len(parts) == 1 else tf.nest.map_structure(_concatenated, *parts)


def _concatenated(*parts: Array) -> Array:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else tf.concat(parts, axis=0)


def _as_tensor(values, spec: tf.TensorSpec) -> tf.Tensor:
    expected = f"Expected {spec.name} of {spec.dtype.name} {spec.shape}. Received:"
    try:
        tensor = tf.convert_to_tensor(values, spec.dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected} {reprlib.repr(values)}.") from error
    if not spec.shape.is_compatible_with(tensor.shape):
        raise ValueError(f"{expected} the shape {tensor.shape}.")
    return tensor


def _as_refusal(said: str) -> str:
    """Of a decoder, which is all that refuses something else than `endpoint_functions`, too."""
    ours = said.startswith("Expected")
    return said if ours else f"Expected a PNG or JPEG picture. Received: {said}"


def reason(message: str) -> str:
    """What a model refused, in the one line of TensorFlow's message that says it."""
    lines = message.splitlines()
    refused = [line[line.index("Expected") :] for line in lines if "assertion failed: [Expected" in line]
    if refused:  # by `endpoint_functions`
        return refused[0].rstrip("]").replace("] [", " ").replace(":]", ":")
    at_node = [i for i, line in enumerate(lines) if line.strip().startswith("[[")]  # what is before it
    return lines[at_node[0] - 1] if at_node else " ".join(message.split())
