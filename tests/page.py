"""What the tests of the page share: a small model, pictures, the program, and the mouse."""

import base64
import io
import os
import subprocess
import sys

import numpy as np
import scipy.ndimage
import tensorflow as tf
from PIL import Image

import air_tf
from air_tf.demo import guard
from air_tf.model.where import CORNERS
from air_tf.preparation import prepare_encoded
from air_tf.scene import Layers, Scene
from tests.conftest import REPOSITORY

CALL = guard.CALL
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SECONDS = 60  # for what should take far less
ADDRESS = "http://127.0.0.1:7860"


class Patches:
    """A model that counts connected patches of light, three at most, and whose boxes are theirs."""

    config = air_tf.ModelConfig()
    image_shape = config.image_shape

    @tf.function
    def _prepare(self, image_bytes):
        return prepare_encoded(image_bytes, self.image_shape, self.config.preparation)[0]

    def prepare(self, image_bytes):
        return self._prepare(tf.constant(image_bytes))

    def infer(self, images) -> Scene:
        boxes = np.zeros((len(images), 3, 4), np.float32)
        found = []
        for image in images:
            labels, _ = scipy.ndimage.label(image[..., 0] > 0.5)
            found.append(scipy.ndimage.find_objects(labels))
        counts = np.array([min(len(patches), 3) for patches in found], np.int32)
        for of_image, patches in zip(boxes, found):
            for box, (rows, columns) in zip(of_image, patches):
                box[:] = rows.start / 50, columns.start / 50, rows.stop / 50, columns.stop / 50
        scores = (np.arange(3) < counts[:, None]).astype(np.float32)
        latents = {"what": np.zeros((len(images), 3, 1), np.float32), "where": np.ones_like(boxes)}
        return Scene(
            counts, np.eye(4)[counts], boxes, boxes, scores, images, np.zeros_like(images), latents
        )

    def layers_of(self, scene) -> Layers:
        shape = scene.boxes.shape[:2]
        layers = np.zeros((*shape, *self.image_shape), np.float32)
        return Layers(layers, layers[..., 0], scene.boxes[..., CORNERS])

    def decode(self, counts, **latents):
        return np.zeros((len(counts), *self.image_shape), np.float32)


def strokes(count=2, light=False):
    """Dark strokes on white, or light ones on black: `(200, 200, 3)` uint8."""
    picture = np.full((200, 200, 3), 255, np.uint8)
    for i in range(count):
        picture[30 + 45 * i : 60 + 45 * i, 50 + 40 * i : 58 + 40 * i] = 0
    return 255 - picture if light else picture


def file_of(pixels, kind="png", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def data_url(file):
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"


def seen(client, file):
    """What the page answers of a file: the HTML of its three pictures, and what is said."""
    response = client.post(CALL, json={"data": [data_url(file)], "fn_index": 0})
    assert response.status_code == 200
    *_, boxes, steps, glimpses, said = response.json()["data"]
    return [boxes, steps, glimpses], said


def started(*flags, **environment):
    """demo.py on a free port, and its address once it answers."""
    inherited = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    command = [sys.executable, REPOSITORY / "demo.py", "--port", "0", *flags]
    process = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=REPOSITORY, env=inherited | environment,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("Running on"):
            return process, line.split()[2].rstrip(";")
    raise AssertionError(f"{process.wait()}")


def stroke(page, *points):
    """A line with the mouse through points given as fractions of the drawing."""
    box = page.locator("#drawing canvas").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def wait_for_count(page, count):
    page.wait_for_function(f"document.querySelector('#said').innerText.startsWith('{count} found')")
