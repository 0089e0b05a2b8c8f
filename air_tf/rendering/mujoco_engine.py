"""Solids drawn by MuJoCo, a physics engine with a renderer of its own, on a machine without a screen.

The light, the camera and the colours are those of `analytic`. MuJoCo renders one image at a time in
OpenGL.
"""

import contextlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import IO

import numpy as np

from air_tf.extras import extra
from air_tf.parts import kind
from air_tf.rendering import analytic
from air_tf.rendering.black_box import BlackBox
from air_tf.rendering.camera import Camera
from air_tf.rendering.renderer import Renderer
from air_tf.rendering.solids import SETS, Part, Solid
from air_tf.validation import settings

WORKER = str(Path(__file__).with_name("mujoco_worker.py"))
FINER = 4  # times as many pixels in each direction, which are averaged: antialiasing
FAR = 20.0  # depth of what is not there
SHAPES = {"box": "box", "ball": "sphere", "cylinder": "cylinder"}
TEXTURE = 64  # pixels, a side


@settings
class MujocoSettings:
    """MuJoCo, called as a black box. It is slow, and here to show that any renderer can be used."""

    renderer: kind("mujoco") = "mujoco"

    def check_available(self) -> None:
        """Raises ValueError if the package `mujoco` is not installed."""
        with extra("mujoco"):
            if importlib.util.find_spec("mujoco") is None:
                raise ModuleNotFoundError(name="mujoco")

    def make(self, solids: str, image_shape: tuple[int, int, int]) -> Renderer:
        self.check_available()
        return Mujoco(solids, image_shape)


class Mujoco(BlackBox):
    """MuJoCo renders one solid after the other, in a process of its own.

    Raises:
        ValueError: it finds no OpenGL to render with.
    """

    def __init__(self, solids: str, image_shape: tuple[int, int, int]):
        self.lock, (self.height, self.width, _) = threading.Lock(), image_shape
        process = subprocess.Popen(
            [sys.executable, "-P", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={"MUJOCO_GL": "egl", **os.environ},
        )  # fmt: skip
        assert process.stdin and process.stdout
        self.requests, self.answers = process.stdin, process.stdout
        weakref.finalize(self, stop, process, self.requests, self.answers)
        size = FINER * self.height, FINER * self.width
        worlds = [scene(solid, *size) for solid in SETS[solids]]
        self._send(
            {"worlds": worlds, "height": self.height, "width": self.width, "finer": FINER, "far": FAR}
        )
        answer = self.answers.readline()
        if answer != b"\n":
            complaint = answer.decode().strip() or "the end of its process"
            raise ValueError(
                "Expected OpenGL without a screen for MuJoCo, such as EGL (Debian: libegl1, libgl1). "
                f"Received: {complaint}."
            )
        super().__init__(solids, image_shape)

    def render(self, which, poses):
        shape = len(poses), self.height, self.width, 5
        with self.lock:
            self._send([which, poses.tolist()])
            received = self.answers.read(4 * math.prod(shape))
        if len(received) < 4 * math.prod(shape):
            raise ValueError("Expected MuJoCo to render. Received: the end of its process.")
        images = np.frombuffer(received, np.float32).reshape(shape)
        return images[..., :3], images[..., 3:4], images[..., 4:]

    def _send(self, message) -> None:
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            self.requests.write(json.dumps(message).encode() + b"\n")
            self.requests.flush()


def stop(process: subprocess.Popen, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Ends the process, which reads requests until there are no more."""
    with contextlib.suppress(BrokenPipeError):
        requests.close()
    answers.close()
    process.wait()


def scene(solid: Solid, height: int, width: int) -> str:
    """The solid in MuJoCo's XML, as a body whose pose is given."""
    camera = Camera()
    rays = camera.rays(height)
    right, up = rays.right.numpy(), -rays.down.numpy()
    texts = {
        "eye": numbers(camera.eye),
        "axes": numbers([*right / np.linalg.norm(right), *up / np.linalg.norm(up)]),
        "light": numbers(-analytic.LIGHT),
        "diffuse": numbers([1 - analytic.AMBIENT] * 3),
        "ambient": numbers([analytic.AMBIENT] * 3),
    }
    return f"""
    <mujoco>
      <visual>
        <global offwidth="{width}" offheight="{height}"/>
        <quality offsamples="0"/>
        <map znear="0.01" zfar="50"/>
        <headlight active="0"/>
      </visual>
      <statistic extent="1" center="0 0 0"/>
      <asset>{"".join(texture(i, part) for i, part in enumerate(solid.parts) if part.checks)}</asset>
      <worldbody>
        <light directional="true" castshadow="false" dir="{texts["light"]}" specular="0 0 0"
          diffuse="{texts["diffuse"]}" ambient="{texts["ambient"]}"/>
        <camera name="camera" pos="{texts["eye"]}" xyaxes="{texts["axes"]}"
          fovy="{camera.field_of_view}"/>
        <body mocap="true">{"".join(geom(i, part) for i, part in enumerate(solid.parts))}</body>
      </worldbody>
    </mujoco>"""


def geom(i: int, part: Part) -> str:
    """A part in XML."""
    size = {"box": part.half, "ball": part.half[:1], "cylinder": (part.half[0], part.half[2])}
    look = f'material="checks{i}"' if part.checks else f'rgba="{numbers((*part.colour, 1))}"'
    return (
        f'<geom type="{SHAPES[part.shape]}" size="{numbers(size[part.shape])}" '
        f'pos="{numbers(part.centre)}" {look}/>'
    )


def texture(i: int, part: Part) -> str:
    """The two checks around and two up of a part, in XML."""
    return (
        f'<texture name="checks{i}" type="2d" builtin="checker" width="{TEXTURE}" height="{TEXTURE}" '
        f'rgb1="{numbers(part.colour)}" rgb2="{numbers(part.checks or part.colour)}"/>'
        f'<material name="checks{i}" texture="checks{i}" specular="0" shininess="0"/>'
    )


def numbers(values) -> str:
    """Numbers in XML."""
    return " ".join(f"{value:.6g}" for value in values)
