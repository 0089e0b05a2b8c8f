"""What the served graph refuses, in the Session that TF Serving uses."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

random = np.random.default_rng(0)
NOISE = Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8))


def encoded_as(kind: str, cut: int | None = None) -> bytes:
    file = io.BytesIO()
    NOISE.save(file, kind)
    return file.getvalue()[:cut]


OTHER_KIND = "Expected a PNG or JPEG picture. Received: a file of another kind or cut short, bytes:"


@pytest.mark.parametrize(
    "file, message",
    [
        *[(data, OTHER_KIND) for data in (b"", b"x", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\n" * 30)],
        *[(encoded_as(kind), OTHER_KIND) for kind in ("gif", "bmp", "webp")],
        *[(encoded_as("png", cut), OTHER_KIND) for cut in (20, 24, 32)],
        *[(encoded_as("png", cut), "Invalid PNG") for cut in (33, 50, -1, -30)],
        *[(encoded_as("jpeg", cut), "Invalid JPEG data") for cut in (3, 4, 200, -200)],
    ],
    ids=lambda value: repr(value)[:25],
)  # fmt: skip
def test_what_is_no_image_is_refused(session_model, file, message):
    for endpoint in ("encoded", "prepare"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            session_model(endpoint, image_bytes=[encoded_as("png"), file])


ONE_OF_EACH = {
    "serving_default": {"images": np.zeros((1, 12, 10, 1), np.float32)},
    "encoded": {"image_bytes": np.array([encoded_as("png")], object)},
    "prepare": {"image_bytes": np.array([encoded_as("png")], object)},
    "decode": {
        "counts": np.ones(1, np.int32),
        "z_what": np.zeros((1, 2, 4), np.float32),
        "z_where": np.ones((1, 2, 3), np.float32),
    },
}
ONE_OF_EACH["layers"] = ONE_OF_EACH["decode"]


@pytest.mark.parametrize("endpoint", ONE_OF_EACH)
@pytest.mark.parametrize("size", [0, 4097])
def test_no_endpoint_takes_an_empty_or_a_huge_batch(session_model, endpoint, size):
    inputs = {name: np.repeat(one, size, axis=0) for name, one in ONE_OF_EACH[endpoint].items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected from 1 to 4,096 images"):
        session_model(endpoint, **inputs)


def objects(name, value, batch=2):
    """Inputs of `decode`, of which one has a value in its first element."""
    inputs = {key: np.repeat(one, batch, axis=0) for key, one in ONE_OF_EACH["decode"].items()}
    inputs[name].reshape(-1)[0] = value
    return inputs


@pytest.mark.parametrize(
    "name, value, message",
    [
        *[("counts", value, "Expected counts from 0 to 2") for value in (3, -1, 2**31 - 1)],
        *[(name, value, "Expected latents from -1e.06 to 1e.06")
          for name in ("z_what", "z_where") for value in (np.nan, np.inf, -np.inf, 3e38)],
        *[("z_where", value, "Expected objects with scales above 0") for value in (0.0, -1.0)],
    ],
)  # fmt: skip
def test_objects_that_cannot_be_drawn_are_refused(session_model, name, value, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        session_model("decode", **objects(name, value))


def test_objects_of_as_many_images_in_each_input_are_asked_for(session_model):
    inputs = objects("counts", 1) | {"z_what": ONE_OF_EACH["decode"]["z_what"]}
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many in each input"):
        session_model("decode", **inputs)


def test_absent_objects_may_be_padded_with_zeros(session_model):
    inputs = objects("counts", 1)
    padded = objects("counts", 1)
    padded["z_where"][:, 1] = 0.0
    images = [session_model("decode", **each)["images"] for each in (inputs, padded)]
    np.testing.assert_array_equal(*images)


def test_a_large_picture_is_not_held_in_floats(session_model):
    """Its pixels are resized as bytes: no operation of the graph takes a whole picture in floats."""
    graph = session_model.session.graph.as_graph_def()
    bodies = [node for function in graph.library.function for node in function.node_def]
    resizes = [node for node in bodies if node.op == "ScaleAndTranslate"]
    assert resizes and {node.attr["T"].type for node in resizes} == {tf.uint8.as_datatype_enum}


@pytest.mark.parametrize("shape", [(12, 10, 1), (2, 10, 12, 1), (2, 12, 10, 3)])
def test_wrong_rank_or_size_is_refused(session_model, shape):
    with pytest.raises(ValueError, match="Cannot feed value of shape"):
        session_model("serving_default", images=np.zeros(shape, np.float32))


@pytest.mark.parametrize("pixel", [np.nan, -0.1, 255.0])
def test_pixels_outside_of_0_to_1_are_refused(session_model, pixel):
    images = np.zeros((2, 12, 10, 1), np.float32)
    images[1, 3, 3] = pixel
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected pixels in"):
        session_model("serving_default", images=images)
    images[1, 3, 3] = 1.0
    assert len(session_model("serving_default", images=images)["counts"]) == 2
