"""Renderers that are black boxes: MuJoCo, and ones that return what they should not."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

import air_tf
from air_tf import cli
from air_tf.presets import TABLE_TOP
from air_tf.rendering import AnalyticSettings, MujocoSettings
from air_tf.rendering.black_box import BlackBox
from air_tf.rendering.solids import SETS
from air_tf.serving.export import export
from tests.conftest import run_eagerly

SIDE = 32
random = np.random.default_rng(0)


class Grey(BlackBox):
    """Something grey everywhere, whatever the pose, changed by `spoil`."""

    spoil = staticmethod(lambda parts: parts)

    def render(self, which, poses):
        return self.spoil([np.full((len(poses), SIDE, SIDE, c), 0.5) for c in (3, 1, 1)])


def with_nan(parts):
    parts[1][0, 0, 0] = np.nan
    return parts


SPOILED = {
    r"shapes \[\(2, 32, 32, 3\).*Received: \[\(2, 16": lambda parts: [p[:, ::2] for p in parts],
    r"Received: \[\(1, 32": lambda parts: [p[:1] for p in parts],
    r"opacities in \[0, 1\].*nan": with_nan,
    r"colours in \[0, 1\].*to 127.5": lambda parts: [255 * parts[0], *parts[1:]],
    "finite depths": lambda parts: [*parts[:2], np.inf * parts[2]],
}


@pytest.mark.parametrize("said", SPOILED)
def test_what_no_renderer_should_return_is_refused_at_once(monkeypatch, said):
    Grey("solids", (SIDE, SIDE, 3))  # unspoiled it is taken
    monkeypatch.setattr(Grey, "spoil", staticmethod(SPOILED[said]))
    with pytest.raises(ValueError, match=said) as raised:
        Grey("solids", (SIDE, SIDE, 3))
    assert "\n" not in str(raised.value)


def mujoco(solids):
    pytest.importorskip("mujoco")
    try:
        return MujocoSettings().make(solids, (SIDE, SIDE, 3))
    except ValueError as error:
        if "Expected OpenGL" not in str(error):
            raise
        pytest.skip(str(error))


def test_without_mujoco_it_is_refused_before_anything_is_drawn(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"^Expected the package mujoco, which pip install .*air_tf\[mujoco\]"
    ):
        air_tf.replaced(TABLE_TOP, renderer="mujoco")


def test_a_renderer_that_there_is_not_is_named():
    with pytest.raises(ValueError, match=r"renderer.*analytic.*mujoco.*Received.*povray"):
        cli.parse_run(["--dataset", "table_top", "--renderer", "povray"])


def test_a_worker_that_cannot_render_is_said(monkeypatch):
    pytest.importorskip("mujoco")
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(ValueError, match=r"^Expected OpenGL .* Received: .*nonsense[^\n]*$"):
        MujocoSettings().make("solids", (SIDE, SIDE, 3))


@pytest.mark.parametrize("solids", SETS)
def test_mujoco_draws_what_the_ray_caster_draws(solids):
    """But for the pixels that edges cross, whose light and depth are averaged in other ways, and for the
    lid of the can, which is checkered in MuJoCo."""
    ray_caster, other = AnalyticSettings().make(solids, (SIDE, SIDE, 3)), mujoco(solids)
    poses = np.c_[random.uniform(-0.7, 0.7, (6, 2)), random.uniform(0, 7, 6)].astype(np.float32)
    for which in range(3):
        ours, theirs = ray_caster.draw(which, tf.constant(poses)), other.draw(which, tf.constant(poses))
        assert np.mean((ours.alpha - theirs.alpha) ** 2) < 1e-3
        apart = np.mean((ours.colour - theirs.colour) ** 2)
        assert apart < 1e-3
        assert np.mean((ours.colour - np.roll(theirs.colour, 1, axis=0)) ** 2) > 5 * apart  # other poses
        inside = (ours.alpha > 0.99) & (theirs.alpha > 0.99)
        assert inside.numpy().sum() > 20 * len(poses)
        away = abs(ours.depth - theirs.depth).numpy()[inside.numpy()]
        assert np.median(away) < 0.01


def test_a_model_learns_through_mujoco_but_is_not_exported(tmp_path):
    mujoco("table_ware")  # or it is skipped
    config = air_tf.replaced(
        TABLE_TOP.model, image_shape=(SIDE, SIDE, 3), max_objects=1, embedding_filters=(4, 4),
        embedding_units=8, lstm_units=8, hidden_units=8, attention_units=8, known_solids="table_ware",
        renderer="mujoco",
    )  # fmt: skip
    model = air_tf.AIR(config)
    x = tf.constant(random.random((2, SIDE, SIDE, 3)), tf.float32)
    with run_eagerly():
        gradients, _ = model.gradients(x, 0)
    [of_place] = [
        gradient
        for gradient, variable in zip(gradients[0], model.variable_groups[0])
        if variable is model.objects.where_head.network.outputs.kernel
    ]
    assert np.isfinite(of_place).all() and abs(of_place.numpy()).max() > 0
    with pytest.raises(ValueError, match=r"by itself.*Received: one whose renderer is a black box\.$"):
        export(model, tmp_path / "exports")
    assert not (tmp_path / "exports").exists()
