"""An analytic ray caster: solids on a table, with Lambertian shading and antialiased edges.

The ray through a pixel's centre gives each part's depth, normal and colour. How much of the pixel the
part covers follows from the distance of the centre to the part's outline, f / |grad f| in pixels, where
f > 0 inside: 1/2 on the outline, 1 from half a pixel inside on. So images are continuous in position,
angle and size, and have gradients.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from air_tf.model.composition import Layer
from air_tf.rendering.camera import Rays, directions
from air_tf.rendering.solids import Part, Solid, Vector

LIGHT = np.array([-0.5, -0.5, 0.8]) / np.linalg.norm([-0.5, -0.5, 0.8])  # where it comes from
AMBIENT = 0.45  # share of a colour that is seen without light
CHECK_EDGE = 0.08  # radians, and parts of half the height, over which one check turns into the next
TABLE, FLOOR = (0.67, 0.65, 0.62), (0.12, 0.12, 0.11)
TABLE_SIDE = 1.15  # half of what is drawn: what stands at the border does not hang in the air
TINY = 1e-6
Axes = list  # a vector's x, y and z, each (..., H, W)


class Hit(NamedTuple):
    """What rays meet of a part."""

    coverage: tf.Tensor  # (..., H, W), of the pixels
    depth: tf.Tensor  # (..., H, W)
    normal: Axes  # of length 1


def covered(inside: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """How much of pixels is inside, by f at their centres and the length of its gradient in pixels."""
    return tf.clip_by_value(0.5 + inside / (slope + TINY), 0.0, 1.0)


def length(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
    """Of a gradient; its own gradient is 0, not infinite, at 0."""
    return tf.sqrt(row * row + column * column + TINY**2)


def root(square: tf.Tensor) -> tf.Tensor:
    """The square root, 0 below 0, with a gradient that stays finite."""
    return tf.sqrt(tf.maximum(square, TINY))


def pixels(vector: tf.Tensor) -> Axes:
    """x, y and z of one vector for all pixels, `(..., 1, 1)` each."""
    return tf.unstack(vector[..., None, None, :], axis=-1)


def from_centre(rays: Rays, part: Part) -> Axes:
    """The eye as seen from the part's centre, for all pixels."""
    return [eye - centre for eye, centre in zip(pixels(rays.eye), part.centre)]


def dot(a, b) -> tf.Tensor:
    """The sum of the products of two vectors' components."""
    return functools.reduce(tf.add, (x * y for x, y in zip(a, b)))


def not_0(x: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.abs(x) < TINY, TINY, x)


def meet_round(rays: Rays, d: Axes, part: Part, axes: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A ball (of 3 axes) or an endless upright cylinder (of 2).

    A ray meets it where b^2 - a q > 0, for |eye + t d|^2 - r^2 = a t^2 + 2 b t + q.

    Returns:
        Its coverage, and where the rays come nearest to its middle and come in: depths.
    """
    eye, d = from_centre(rays, part)[:axes], d[:axes]
    a, b = dot(d, d) + TINY, dot(eye, d)
    q = dot(eye, eye) - part.half[0] ** 2
    inside = b * b - a * q
    steps = (pixels(step)[:axes] for step in (rays.down, rays.right))
    slopes = (2 * b * dot(eye, step) - 2 * q * dot(d, step) for step in steps)
    return covered(inside, length(*slopes)), -b / a, (-b - root(inside)) / a


def meet_ball(rays: Rays, d: Axes, part: Part) -> Hit:
    coverage, _, depth = meet_round(rays, d, part, axes=3)
    normal = [(eye + depth * x) / part.half[0] for eye, x in zip(from_centre(rays, part), d)]
    return Hit(coverage, depth, normal)


def meet_end(rays: Rays, d: Axes, part: Part, height: float) -> tf.Tensor:
    """The coverage of a disc at this height above the part's centre.

    A ray meets it where |(h - eye_z) d_xy + d_z eye_xy|^2 < (r d_z)^2.
    """
    x, y, z = from_centre(rays, part)
    away, radius = height - z, part.half[0]
    at = away * d[0] + d[2] * x, away * d[1] + d[2] * y
    inside = (radius * d[2]) ** 2 - dot(at, at)
    slopes = (
        2 * radius**2 * d[2] * step[2]
        - 2 * dot(at, (away * step[0] + step[2] * x, away * step[1] + step[2] * y))
        for step in map(pixels, (rays.down, rays.right))
    )
    return covered(inside, length(*slopes))


def meet_cylinder(rays: Rays, d: Axes, part: Part) -> Hit:
    """Both ends, and the wall between them, which a ray meets around where it is nearest to the axis."""
    wall, nearest, wall_depth = meet_round(rays, d, part, axes=2)
    (x, y, z), (radius, _, half) = from_centre(rays, part), part.half
    between = tf.abs(z + nearest * d[2]) < half
    ends = [meet_end(rays, d, part, height) for height in (half, -half)]
    coverage = tf.maximum(tf.where(between, wall, 0.0), tf.maximum(*ends))

    above = z > 0
    on_end = tf.where(tf.abs(z) > half, tf.where(above, *ends), 0.0)  # the end that is seen
    side = tf.where(above, 1.0, -1.0)
    end_depth = (side * half - z) / not_0(d[2])
    depth = tf.where(on_end > 0.5, end_depth, wall_depth)
    on_wall = (1 - on_end) / radius
    normal = [on_wall * (x + wall_depth * d[0]), on_wall * (y + wall_depth * d[1]), on_end * side]
    return Hit(coverage, depth, normal)


def meet_box(rays: Rays, d: Axes, part: Part) -> Hit:
    """The faces that are seen, each within its four edges, and all within those that are the outline.

    A ray d passes the edge from u to v (both from the eye) on the side that d . (u x v) tells, which is
    linear in the pixel's row and column.
    """
    eye = rays.eye - tf.constant(part.centre, tf.float32)
    shares, depths, outline = [], [], 1.0
    for axis in range(3):
        first, second = (i for i in range(3) if i != axis)
        neighbours = (first, 1), (second, -1), (first, -1), (second, 1)  # the faces behind the edges
        side = tf.where(eye[..., axis : axis + 1] > 0, 1.0, -1.0)  # of the face
        corners = [corner - eye for corner in face(axis, side, part.half)]
        seen = (tf.abs(eye[..., axis]) > part.half[axis])[..., None, None]
        share, middle = tf.cast(seen, tf.float32), corners[0] + corners[2]
        for (other, sign), u, v in zip(neighbours, corners, corners[1:] + corners[:1]):
            across = tf.linalg.cross(u, v)
            across *= tf.sign(tf.reduce_sum(middle * across, axis=-1, keepdims=True))
            slopes = (
                tf.reduce_sum(across * step, axis=-1)[..., None, None]
                for step in (rays.down, rays.right)
            )
            inside = covered(dot(d, pixels(across)), length(*slopes))
            share = tf.minimum(share, inside)
            last = seen & (sign * eye[..., other] <= part.half[other])[..., None, None]
            outline = tf.where(last, tf.minimum(outline, inside), outline)
        shares.append(share)
        plane = side * part.half[axis] - eye[..., axis : axis + 1]
        depths.append(plane[..., None] / not_0(d[axis]))
    total = shares[0] + shares[1] + shares[2]
    shares = [share / tf.maximum(total, TINY) for share in shares]
    normal = [share * tf.where(x > 0, 1.0, -1.0) for share, x in zip(shares, pixels(eye))]
    depth = tf.where(shares[0] > 0.5, depths[0], tf.where(shares[1] > 0.5, depths[1], depths[2]))
    return Hit(tf.minimum(total, outline), depth, normal)


def face(axis: int, side: tf.Tensor, half: Vector) -> list[tf.Tensor]:
    """The four corners of a box's face across an axis, one after the other, `(..., 3)` each."""
    first, second = (i for i in range(3) if i != axis)
    corners = []
    for signs in (1, 1), (1, -1), (-1, -1), (-1, 1):
        corner = [None] * 3
        corner[axis] = side * half[axis]
        corner[first], corner[second] = (
            tf.ones_like(side) * sign * half[i] for sign, i in zip(signs, (first, second))
        )
        corners.append(tf.concat(corner, axis=-1))
    return corners


MEET = {"ball": meet_ball, "cylinder": meet_cylinder, "box": meet_box}


def colour_of(part: Part, rays: Rays, d: Axes, hit: Hit, light: Axes) -> tf.Tensor:
    """The part's colour in each pixel, in its light: `(..., H, W, 3)`."""
    colour = tf.constant(part.colour, tf.float32)
    if part.checks:
        y, z = (
            (eye + hit.depth * along - centre) / half
            for eye, along, centre, half in list(zip(pixels(rays.eye), d, part.centre, part.half))[1:]
        )
        on_side = 1 - tf.abs(hit.normal[2])
        check = on_side * tf.tanh(y / CHECK_EDGE) * tf.tanh(z / CHECK_EDGE)
        share = (0.5 + 0.5 * check)[..., None]
        colour = share * colour + (1 - share) * tf.constant(part.checks, tf.float32)
    lit = AMBIENT + (1 - AMBIENT) * tf.maximum(dot(hit.normal, light), 0.0)
    return colour * lit[..., None]


def draw(
    solid: Solid,
    rays: Rays,
    position: tf.Tensor,
    angle: tf.Tensor,
    size: tf.Tensor,
    height: int,
    width: int,
) -> Layer:
    """What solids look like in images by themselves.

    Args:
        solid: which.
        rays: of the camera, or of each image's.
        position: on the table, `(B, 2)`.
        angle: by which the solid is turned about the vertical, in radians, `(B,)`.
        size: by which it is enlarged, `(B,)`.
        height: of the images, in pixels.
        width: likewise.

    Returns:
        `Layer` of `(B, H, W, C)`, with its depth.
    """
    own = rays.turned(position, angle, size)
    light = pixels(
        Rays(*[tf.constant(LIGHT, tf.float32)] * 4).turned(0 * position, angle, 1 + 0 * size)[1]
    )
    d = directions(own, height, width)
    result = None
    for part in solid.parts:
        hit = MEET[part.shape](own, d, part)
        colour = colour_of(part, own, d, hit, light)
        alpha = hit.coverage[..., None]
        result = joined(result, Layer(alpha * colour, alpha, hit.depth[..., None]))
    assert result is not None
    return result


def joined(first: Layer | None, second: Layer) -> Layer:
    """Two parts as one: in each pixel, the nearer one hides the other as far as it covers it.

    A part that covers no more than half of a pixel counts as farther than one that covers more.
    """
    if first is None:
        return second
    nearer = tf.less(*(tf.where(layer.alpha > 0.5, layer.depth, np.inf) for layer in (second, first)))
    covered = tf.maximum(first.alpha, second.alpha) > 0.5
    in_front = tf.where(covered, nearer, second.alpha > first.alpha)
    colour = tf.where(
        in_front,
        second.colour + (1 - second.alpha) * first.colour,
        first.colour + (1 - first.alpha) * second.colour,
    )
    alpha = 1 - (1 - first.alpha) * (1 - second.alpha)
    return Layer(colour, alpha, tf.where(in_front, second.depth, first.depth))


def table(rays: Rays, height: int, width: int) -> tf.Tensor:
    """The empty table, drawn as the upper face of a flat box: `(..., H, W, 3)`."""
    board = Part("box", (TABLE_SIDE, TABLE_SIDE, 0.5), (0, 0, -0.5), TABLE)
    hit = meet_box(rays, directions(rays, height, width), board)
    top = (hit.coverage * hit.normal[2])[..., None]
    lit = AMBIENT + (1 - AMBIENT) * LIGHT[2]
    return lit * (top * tf.constant(TABLE) + (1 - top) * tf.constant(FLOOR))
