"""The readers that `benchmarks.fuzz` and `tests/test_fuzz.py` feed, and what they are fed with."""

import contextlib
import csv
import dataclasses
import functools
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from air_tf import replaced
from air_tf.air import AIR
from air_tf.config import Config, ModelConfig
from air_tf.folders import RESULT, writing
from air_tf.image_files import read_picture
from air_tf.memory import check_model_fits
from air_tf.parts import flat, owners
from air_tf.prediction.tables import Prediction, parsed
from air_tf.serving.export import export
from air_tf.training.run_record import RunRecord, read_config, read_history
from air_tf.training.trainer import names_workers
from air_tf.validation import parse_json
from benchmarks.fuzz_inputs import (
    altered_bytes,
    altered_json,
    npz,
    pictures,
    scalars,
    values,
)


class Reader(NamedTuple):
    """What reads, what it reads, and how it may refuse that."""

    inputs: st.SearchStrategy
    read: Callable[[Any], object]
    refusals: tuple[type[BaseException], ...] = (ValueError, OSError)


def make_reader(name: str, folder: Path) -> Reader:
    """The reader of this name, which may write to `folder`."""
    return MAKERS[name](folder)


def written(path: Path, read: Callable[[], object]) -> Callable[[bytes], object]:
    """Reads what has first been written to `path`."""

    def write_and_read(data: bytes):
        path.write_bytes(data)
        return read()

    return write_and_read


RECORD = {
    **json.loads(json.dumps(dataclasses.asdict(Config()))),
    "digits": "mnist", "seed": 0, "digits_fingerprint": "0f" * 16,
}  # fmt: skip
EVALUATION = {
    "step": 500, "seconds": 12.5, "count_accuracy": 0.9, "elbo": 600.0, "mean_count": 1.0,
    "count_accuracy_by_count": {"0": 1.0, "1": 0.9, "2": 0.8}, "count_histogram": {"0": 0.5, "1": 0.5},
}  # fmt: skip
CLUSTER = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


def settings(folder: Path) -> Reader:
    """The settings, as flags or as Python code gives them, and whether they fit into memory."""
    typical = st.sampled_from(
        [1, 2, 64, 0.5, 3.0, "mnist", "omniglot", "nvil", "concrete", (3.0, 0.2), (50, 50), (5,)]
    )
    value = st.one_of(typical, values, st.lists(scalars, max_size=3).map(tuple))

    names = [*flat(Config()), *owners(Config), "depth"]

    def read(changes):
        config = replaced(Config(), **changes)
        check_model_fits(config.model, config.training.batch_size, training=True)
        text = json.dumps({**dataclasses.asdict(config), "digits_fingerprint": ""})
        record = parse_json(text, RunRecord, "a run", "the settings")
        assert (record.data, record.model, record.training) == (
            config.data,
            config.model,
            config.training,
        )

    changes = st.dictionaries(st.sampled_from(names), value, max_size=3)
    return Reader(changes, read, (ValueError,))


def config(folder: Path) -> Reader:
    """config.json of a run."""
    return Reader(altered_json(RECORD), written(folder / "config.json", lambda: read_config(folder)))


def history(folder: Path) -> Reader:
    """history.jsonl of a run, and the figure that is drawn of it."""
    lines = st.lists(altered_json(EVALUATION), min_size=1, max_size=4).map(b"\n".join)

    def check(records: list[dict]):
        steps = [record["step"] for record in records]
        assert steps == sorted(set(steps))
        json.dumps(records, allow_nan=True)

    path = folder / "history.jsonl"
    return Reader(lines, written(path, lambda: check(read_history(folder))))


def cluster(folder: Path) -> Reader:
    """The variable TF_CONFIG."""
    texts = altered_json(CLUSTER).map(lambda data: data.decode("utf-8", "surrogateescape"))
    return Reader(texts, names_workers)


def counts(folder: Path) -> Reader:
    """counts.csv beside pictures."""
    rows = st.lists(st.tuples(st.sampled_from(["a.png", "b.png", ""]), scalars.map(str)), max_size=4)

    def text(rows) -> bytes:
        file = io.StringIO()
        csv.writer(file).writerows([("file", "count"), *rows])
        return file.getvalue().encode("utf-8", "surrogatepass")

    inputs = st.one_of(rows.map(text), altered_bytes([b"file,count\na.png,2\nb.png,0\n"]))
    return Reader(inputs, written(folder / "counts.csv", lambda: read_labels_in(folder)))


def boxes(folder: Path) -> Reader:
    """boxes.json beside pictures."""
    coco = {
        "images": [{"id": 0, "file_name": "a.png", "width": 8}, {"id": 1, "file_name": "b.png"}],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2.5, 3, 4]},
                        {"id": 2, "image_id": 0, "bbox": [0, 0, 8, 6], "iscrowd": 0}],
    }  # fmt: skip
    return Reader(altered_json(coco), written(folder / "boxes.json", lambda: read_labels_in(folder)))


def read_labels_in(folder: Path) -> None:
    """Reads the labels of two pictures, and checks what comes of them."""
    from air_tf.data.labels import read_labels

    numbers, edges = read_labels([folder / "a.png", folder / "b.png"], np.array([[6, 8], [6, 8]]))
    assert numbers.shape == (2,) and numbers.min() >= -1
    assert np.isfinite(edges).all() and edges.min(initial=0) >= 0 and edges.max(initial=0) <= 1


def digits(folder: Path) -> Reader:
    """mnist.npz."""
    from air_tf.data.digits import mnist_from_file

    images, labels = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8)
    keras_layout = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    others = [
        npz(**keras_layout | changed)
        for changed in ({"x_train": images[:, :5]}, {"y_test": labels[:1]}, {"x_test": images * 0.5},
                        {"x_train": np.array([object()])}, {"y_train": np.array("a")})
    ]  # fmt: skip
    inputs = altered_bytes([npz(**keras_layout), *others, npz()])
    path = folder / "mnist.npz"
    return Reader(inputs, written(path, lambda: mnist_from_file(str(path))))


def cache(folder: Path) -> Reader:
    """A cached data set, which is made anew when it is damaged: nothing is refused."""
    from air_tf.data.cache import cached
    from air_tf.data.split import Split

    split = Split.unlabelled(np.zeros((2, 8, 8, 1), np.uint8))
    path = folder / "cache.npz"
    arguments = path, lambda: {"train": split, "test": split}, ("train", "test"), (8, 8, 1)
    cached(*arguments)
    whole = path.read_bytes()

    def read():
        with contextlib.redirect_stderr(io.StringIO()):
            splits = cached(*arguments)
        assert set(splits) == {"train", "test"} and len(splits["train"].counts) == len(splits["train"])

    return Reader(altered_bytes([whole, npz(), npz(a=np.zeros(3))]), written(path, read), ())


def picture(folder: Path) -> Reader:
    """A picture file of a user's."""

    def read(data: bytes):
        pixels = read_picture(io.BytesIO(data))
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3

    return Reader(altered_bytes([*pictures(), b"", b"GIF89a"]), read)


def progress(folder: Path) -> Reader:
    """A line of an unfinished prediction job."""
    finished = Prediction("a.png", False, (9, 13), 1, 0.9, 1.1, [[0.1, 0.2, 0.3, 0.4]], [0.9])
    return Reader(altered_json(dataclasses.asdict(finished)), parsed)


def manifest(folder: Path) -> Reader:
    """The list of what lies in a folder of results, which is only trusted with what it lists rightly."""
    out, finished, precious = folder / "out", folder / "finished", folder / "precious.txt"
    precious.write_text("mine")
    with writing(finished, "fuzz") as unfinished:
        (unfinished / RESULT / "a.txt").write_text("a")
    path = next(finished.glob("*/manifest.json")).relative_to(finished)
    original = json.loads((finished / path).read_text())

    def read(data: bytes):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(finished, out)
        (out / path).write_bytes(data)
        try:
            with writing(out, "fuzz") as unfinished:
                (unfinished / RESULT / "a.txt").write_text("a")
        finally:
            assert precious.read_text() == "mine" and (out / "a.txt").read_text() == "a"

    return Reader(altered_json(original), read)


class Refused(Exception):
    """A served request was answered with INVALID_ARGUMENT."""


@functools.cache
def served_model():
    """A small model, served as the tests serve it."""
    from tests.prediction_server import Version

    config = replaced(ModelConfig(),
        image_shape=(12, 10, 1), max_objects=2, glimpse_size=6, z_what_size=4, embedding_units=8,
        lstm_units=8, hidden_units=8,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        return Version(export(AIR(config), folder))


def ask(request) -> None:
    """Asks the served model; whatever it answers has to be finite."""
    from tests.prediction_server import BadRequest

    try:
        outputs = served_model().predict(request)
    except BadRequest as error:
        code, message = error.args
        assert code is grpc.StatusCode.INVALID_ARGUMENT, (code, message)
        raise Refused(message) from None
    for name, output in outputs.items():
        assert np.isfinite(output).all(), name


def request_of(endpoint: str, **inputs) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "air", endpoint
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def encoded(folder: Path) -> Reader:
    """The bytes of a picture, as a client sends them."""
    served_model()
    return Reader(
        altered_bytes([*pictures(), b"", b"GIF89a", b"BM"]),
        lambda data: ask(request_of("encoded", image_bytes=[data])),
        (Refused,),
    )


def request(folder: Path) -> Reader:
    """A whole request, as a client sends it."""
    served_model()
    latents = {"counts": np.int32([1, 2]), "z_what": np.zeros((2, 2, 4), np.float32),
               "z_where": np.float32([[[3, 0, 0]] * 2] * 2)}  # fmt: skip
    originals = [
        request_of("serving_default", images=np.zeros((1, 12, 10, 1), np.float32)),
        request_of("decode", **latents),
        request_of("layers", **latents),
        request_of("encoded", image_bytes=[pictures()[0]]),
        request_of("prepare", image_bytes=[pictures()[7]]),
    ]
    texts = [original.SerializeToString() for original in originals]

    def read(data: bytes):
        ask(predict_pb2.PredictRequest.FromString(data))

    return Reader(altered_bytes(texts, edits=3), read, (Refused, DecodeError))


MAKERS = {
    maker.__name__: maker
    for maker in (
        settings, config, history, cluster, counts, boxes, digits, cache, picture, progress, manifest,
        encoded, request,
    )
}  # fmt: skip
