"""Renders with MuJoCo in a process of its own: `python -P mujoco_worker.py`, called by `mujoco_engine`.

OpenGL in software and TensorFlow each bring an LLVM, and two of them in one process crash. So nothing of
air_tf is imported here, which would import TensorFlow.

First it reads a line of JSON with the `worlds` (MuJoCo's XML), `height` and `width`, in pixels, how
much `finer` it renders than that, and beyond which depth there is nothing (`far`). It answers with a
line that is empty, or says what is wrong. After that it reads lines `[which, poses]`, and answers each
with float32s, `(height, width, 5)` for each pose: colour times opacity, opacity and depth.
"""

import json
import sys

import numpy as np

TINY = 1e-6


class Engine:
    """Draws what is in one of several worlds: a body that stands where it is told to."""

    def __init__(self, worlds: list[str], height: int, width: int, finer: int, far: float):
        import mujoco  # may already find that there is no OpenGL

        self.mujoco = mujoco
        self.height, self.width, self.finer, self.far = height, width, finer, far
        self.models = [mujoco.MjModel.from_xml_string(world) for world in worlds]
        size = finer * height, finer * width
        self.renderers = [mujoco.Renderer(model, *size) for model in self.models]

    def render(self, which: int, pose: list[float]) -> np.ndarray:
        """The image of one pose (x, y, angle), `(height, width, 5)`."""
        model, renderer, (x, y, angle) = self.models[which], self.renderers[which], pose
        data = self.mujoco.MjData(model)
        data.mocap_pos[0] = x, y, 0
        data.mocap_quat[0] = np.cos(angle / 2), 0, 0, np.sin(angle / 2)
        self.mujoco.mj_forward(model, data)
        renderer.update_scene(data, camera="camera")
        colour = renderer.render() / 255
        renderer.enable_depth_rendering()
        depth = renderer.render()[..., None]
        renderer.disable_depth_rendering()
        there = depth < self.far
        seen = np.concatenate([colour, np.ones_like(depth), depth], axis=-1)
        blocks = np.where(there, seen, 0).reshape(self.height, self.finer, self.width, self.finer, 5)
        image = blocks.mean(axis=(1, 3))
        alpha = image[..., 3]
        image[..., 4] = np.where(alpha > 0, image[..., 4] / np.maximum(alpha, TINY), self.far)
        return image.astype(np.float32)


def main() -> None:
    try:
        engine, complaint = Engine(**json.loads(sys.stdin.readline())), ""
    except Exception as error:  # each way to OpenGL has errors of its own
        engine, complaint = None, " ".join(str(error).split()) or type(error).__name__
    print(complaint, flush=True)
    if engine is None:
        return
    for line in sys.stdin:
        which, poses = json.loads(line)
        images = np.stack([engine.render(which, pose) for pose in poses])
        sys.stdout.buffer.write(images.tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
