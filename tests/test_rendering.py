"""The ray caster against brute force, closed forms and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from air_tf.model.composition import Layer
from air_tf.rendering import analytic
from air_tf.rendering.camera import Camera, directions
from air_tf.rendering.solids import BALL, BOTTLE, CAN, CUBE, MUG, PLATE, SETS

SIDE = 24
RAYS = Camera().rays(SIDE)
random = np.random.default_rng(0)
SOLIDS = [solid for solids in SETS.values() for solid in solids]


def drawn(solid, position, angle, size, side=SIDE):
    values = (tf.constant(value, tf.float32) for value in (position, angle, size))
    return analytic.draw(solid, Camera().rays(side), *values, side, side)


def some_poses(number):
    return (
        random.uniform(-0.7, 0.7, (number, 2)),
        random.uniform(0, 7, number),
        random.uniform(0.8, 1.2, number),
    )


def is_inside(part, points):
    """Whether points `(..., 3)`, as the solid sees them, lie in a part."""
    away = np.abs(points - part.centre) / part.half
    if part.shape == "box":
        return (away <= 1).all(axis=-1)
    if part.shape == "ball":
        return (away**2).sum(axis=-1) <= 1
    return ((away[..., :2] ** 2).sum(axis=-1) <= 1) & (away[..., 2] <= 1)


def marched(solid, position, angle, size, finer=4, steps=350):
    """Coverage and middle depth by walking along the rays of a finer image, `(SIDE, SIDE)` each."""
    rays = Camera().rays(SIDE * finer)
    d = np.stack([x.numpy() for x in directions(rays, SIDE * finer, SIDE * finer)], axis=-1)
    depth = np.full(d.shape[:2], np.inf)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    for t in np.linspace(2, 5.5, steps)[::-1]:
        points = (rays.eye.numpy() + t * d - [*position, 0]) @ turn.T / size
        depth[np.any([is_inside(part, points) for part in solid.parts], axis=0)] = t
    blocks = depth.reshape(SIDE, finer, SIDE, finer).transpose(0, 2, 1, 3).reshape(SIDE, SIDE, -1)
    return np.isfinite(blocks).mean(axis=-1), np.median(blocks, axis=-1)


@pytest.mark.parametrize("solid", SOLIDS, ids=lambda solid: solid.name)
def test_coverage_and_depth_are_those_of_walking_along_the_rays(solid):
    for position, angle, size in zip(*some_poses(3)):
        layer = drawn(solid, [position], [angle], [size])
        coverage, depth = marched(solid, position, angle, size)
        alpha = layer.alpha.numpy()[0, ..., 0]
        # an edge's distance alone says what it covers to within 0.1 of a pixel; corners differ
        assert np.abs(alpha - coverage).mean() < 0.005
        assert np.mean(np.abs(alpha - coverage) > 0.25) < 0.01
        inside = coverage == 1
        np.testing.assert_array_less(0.8, alpha[inside])
        middle = layer.depth.numpy()[0, ..., 0][inside]
        assert np.median(np.abs(middle - depth[inside])) < 0.02


def test_depths_and_light_of_a_ball_in_closed_form():
    """Straight ahead lies what the camera looks at, and the ball's normal there points to the camera."""
    camera = Camera((0.0, -3.0, 0.33), (0.0, 0.0, 0.33))
    layer = analytic.draw(
        BALL, camera.rays(25), tf.zeros((1, 2)), tf.zeros(1), tf.ones(1), 25, 25
    )  # the middle of a pixel lies straight ahead
    assert float(layer.depth[0, 12, 12, 0]) == pytest.approx(3 - 0.33, abs=1e-3)
    lit = analytic.AMBIENT + (1 - analytic.AMBIENT) * -analytic.LIGHT[1]
    np.testing.assert_allclose(layer.colour[0, 12, 12], lit * np.array(BALL.parts[0].colour), atol=1e-3)
    # its outline is where a ray touches it: at an angle of arcsin(r / distance)
    seen = np.degrees(np.arcsin(0.33 / 3)) * 2
    across = layer.alpha.numpy()[0, 12, :, 0].sum() * 2 * np.tan(np.radians(22)) / 25
    assert np.degrees(2 * np.arctan(across / 2)) == pytest.approx(seen, rel=0.01)


@pytest.mark.parametrize("solid", SOLIDS, ids=lambda solid: solid.name)
def test_turns_of_its_symmetry_leave_it_as_it_was(solid):
    """Only the solid is turned: the light still comes from the same side."""
    position, angle, size = some_poses(4)
    first = drawn(solid, position, angle, size)
    turn = 2 * np.pi / solid.symmetry if solid.symmetry else 1.234
    second = drawn(solid, position, angle + turn, size)
    np.testing.assert_allclose(first.colour, second.colour, atol=2e-3)
    if solid.symmetry:
        other = drawn(solid, position, angle + turn / 2, size)
        assert np.abs(first.colour - other.colour).max() > 0.05


@pytest.mark.parametrize("solid", SOLIDS, ids=lambda solid: solid.name)
def test_gradients_are_the_slopes_of_finite_differences(solid):
    """But for kinks, where a pixel begins to be covered or is covered wholly."""
    position, angle, size = map(tf.constant, (v.astype(np.float32) for v in some_poses(8)))
    weights = tf.constant(random.normal(size=(SIDE, SIDE, 3)), tf.float32)

    def seen(position, angle, size):
        layer = analytic.draw(solid, RAYS, position, angle, size, SIDE, SIDE)
        return tf.reduce_sum((layer.colour + 0.3 * layer.alpha) * weights, axis=(1, 2, 3))

    with tf.GradientTape() as tape:
        tape.watch([position, angle, size])
        value = seen(position, angle, size)
    position_slope, *others = tape.gradient(value, [position, angle, size])
    slopes = np.concatenate([position_slope, *(slope[:, None] for slope in others)], axis=1)
    step, differences = 5e-4, []
    for at in np.eye(4, dtype=np.float32) * step:
        up, down = (seen(position + s * at[:2], angle + s * at[2], size + s * at[3]) for s in (1, -1))
        differences.append((up - down) / (2 * step))
    errors = np.abs(slopes - np.transpose(differences))
    scale = np.abs(differences).max()
    assert (np.median(errors, axis=0) < 0.02 * scale).all() and errors.max() < scale


def test_compiled_it_draws_the_same():
    position, angle, size = map(tf.constant, (v.astype(np.float32) for v in some_poses(2)))
    for solid in CUBE, BALL, CAN, MUG:
        draw = tf.function(analytic.draw, jit_compile=True)
        compiled = draw(solid, RAYS, position, angle, size, SIDE, SIDE)
        plain = analytic.draw(solid, RAYS, position, angle, size, SIDE, SIDE)
        np.testing.assert_allclose(compiled.colour, plain.colour, atol=1e-3)


def test_nearer_parts_hide_farther_ones():
    """The mug's handle is seen before its body, and not behind it."""
    body = MUG._replace(parts=MUG.parts[:1])
    for angle, hidden in [(np.pi / 2, True), (-np.pi / 2, False)]:
        whole, alone = (drawn(solid, [[0.0, 0.0]], [angle], [1.0], 64) for solid in (MUG, body))
        inside = alone.alpha.numpy()[..., 0] == 1
        unlike = np.abs(whole.colour - alone.colour).max(axis=-1)[inside] > 1e-3
        nearer = (alone.depth - whole.depth).numpy()[..., 0][inside] > 0.01
        assert unlike.any() == nearer.any() == (not hidden)


def test_where_parts_cover_little_the_depth_is_that_of_the_one_that_covers_more():
    def part(alpha, depth):
        shape = (1, 1, 1, 1)
        return Layer(tf.fill((1, 1, 1, 3), 0.5 * alpha), tf.fill(shape, alpha), tf.fill(shape, depth))

    for first, second, depth in [
        ((0.0, 1.0), (0.3, 2.0), 2.0),
        ((0.3, 2.0), (0.0, 1.0), 2.0),
        ((0.4, 2.0), (0.9, 3.0), 3.0),
        ((0.9, 3.0), (0.9, 2.0), 2.0),
    ]:
        both = analytic.joined(part(*first), part(*second))
        assert both.depth.numpy().item() == depth
        alpha = 1 - (1 - first[0]) * (1 - second[0])
        np.testing.assert_allclose(both.alpha.numpy().item(), alpha, rtol=1e-6)
        np.testing.assert_allclose(both.colour, 0.5 * alpha, rtol=1e-6)  # both are as bright


def test_the_table_is_drawn_where_its_corners_are():
    side = 64
    picture = analytic.table(Camera().rays(side), side, side).numpy()
    lit = analytic.AMBIENT + (1 - analytic.AMBIENT) * analytic.LIGHT[2]
    np.testing.assert_allclose(picture[0, 0], lit * np.array(analytic.FLOOR), atol=1e-3)
    np.testing.assert_allclose(picture[side // 2, side // 2], lit * np.array(analytic.TABLE), atol=1e-3)
    rays = Camera().rays(side)
    eye, forward, right, down = (value.numpy().astype(float) for value in rays)
    for x, y in [(-1, -1), (1, 1)]:
        to = np.array([x * analytic.TABLE_SIDE, y * analytic.TABLE_SIDE, 0]) - eye
        to /= to @ forward
        column = to @ right / (right @ right) + (side - 1) / 2
        row = to @ down / (down @ down) + (side - 1) / 2
        inner = picture[round(row + 2 * y), round(column - 2 * x)]
        assert np.abs(inner - lit * np.array(analytic.TABLE)).max() < 0.1


def test_all_stand_on_the_table():
    for solid in CUBE, BALL, CAN, PLATE, MUG, BOTTLE:
        assert min(part.centre[2] - part.half[2] for part in solid.parts) == pytest.approx(0)
