"""Solids that stand on a table, made of boxes, balls and upright cylinders.

Lengths are in halves of the table's side; a solid stands at the origin, on z = 0.
"""

import math
from typing import Literal, NamedTuple

Vector = tuple[float, float, float]


class Part(NamedTuple):
    """A box, a ball or an upright cylinder of one colour, or of two in a checkered pattern."""

    shape: Literal["box", "ball", "cylinder"]
    half: Vector  # of its width, depth and height; a ball and a cylinder are as deep as they are wide
    centre: Vector
    colour: Vector  # RGB in [0, 1]
    checks: Vector | None = None  # the other colour of a cylinder's side: two checks around, two up


class Solid(NamedTuple):
    """A solid, and the turns about the vertical after which it looks the same."""

    name: str
    parts: tuple[Part, ...]
    symmetry: int  # looks the same after 1/symmetry of a full turn; 0: after any turn

    @property
    def extent(self) -> tuple[float, float]:
        """How far it reaches from its axis, and up."""
        reach = [
            math.hypot(*part.centre[:2])
            + (math.hypot(*part.half[:2]) if part.shape == "box" else part.half[0])
            for part in self.parts
        ]
        return max(reach), max(part.centre[2] + part.half[2] for part in self.parts)


RED, BLUE, YELLOW, GREEN = (0.85, 0.2, 0.2), (0.2, 0.35, 0.9), (0.95, 0.85, 0.2), (0.1, 0.45, 0.25)
WHITE, ORANGE, GLASS = (0.9, 0.9, 0.95), (0.9, 0.5, 0.15), (0.15, 0.5, 0.3)
CUBE = Solid("cube", (Part("box", (0.3, 0.3, 0.3), (0, 0, 0.3), RED),), 4)
BALL = Solid("ball", (Part("ball", (0.33, 0.33, 0.33), (0, 0, 0.33), BLUE),), 0)
CAN = Solid("can", (Part("cylinder", (0.26, 0.26, 0.38), (0, 0, 0.38), YELLOW, GREEN),), 1)
PLATE = Solid(
    "plate",
    (
        Part("cylinder", (0.24, 0.24, 0.03), (0, 0, 0.03), WHITE),
        Part("cylinder", (0.42, 0.42, 0.02), (0, 0, 0.08), WHITE),
    ),
    0,
)
MUG = Solid(
    "mug",
    (
        Part("cylinder", (0.22, 0.22, 0.26), (0, 0, 0.26), ORANGE),
        Part("box", (0.09, 0.03, 0.15), (0.3, 0, 0.27), ORANGE),
    ),
    1,
)
BOTTLE = Solid(
    "bottle",
    (
        Part("cylinder", (0.17, 0.17, 0.32), (0, 0, 0.32), GLASS),
        Part("ball", (0.17, 0.17, 0.17), (0, 0, 0.64), GLASS),
        Part("cylinder", (0.07, 0.07, 0.2), (0, 0, 0.85), GLASS),
    ),
    0,
)
SETS = {"solids": (CUBE, BALL, CAN), "table_ware": (PLATE, MUG, BOTTLE)}
