import dataclasses
from typing import Annotated

import pytest
from pydantic import Field

from air_tf import Config
from air_tf.parts import choices, flat, kind, one_of, owners, replaced
from air_tf.presets import PRESETS
from air_tf.validation import settings


@settings
class Round:
    """A disc."""

    shape: kind("round") = "round"
    radius: Annotated[float, Field(gt=0)] = 1.0


@settings
class Square:
    """A square."""

    shape: kind("square") = "square"
    side: float = 2.0


@settings
class Drawing:
    shape: one_of("shape", Round, Square) = Round()
    colour: int = 3


@settings
class Whole:
    drawing: Drawing = Drawing()
    title: str = ""


def test_a_part_is_chosen_by_its_selector_and_changed_by_the_name_of_a_setting():
    whole = replaced(Whole(), shape="square", side=5.0, title="x")
    assert whole == Whole(drawing=Drawing(shape=Square(side=5.0)), title="x")
    assert flat(whole) == {"shape": "square", "side": 5.0, "colour": 3, "title": "x"}
    assert replaced(whole, shape="square") == whole  # what is there stays
    assert replaced(whole, shape="round") == Whole(title="x")


def test_choices_and_owners_are_found_in_the_whole_tree():
    assert choices(Whole) == {"shape": {"round": Round, "square": Square}}
    assert owners(Whole) == {"radius": {"shape": ["round"]}, "side": {"shape": ["square"]}}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"shape": "oval"}, "Expected shape to be one of round, square. Received: shape='oval'."),
        ({"side": 1.0}, "Expected side only with shape square. Received: side=1.0 with shape round."),
        (
            {"shape": "square", "radius": 1.0},
            "Expected radius only with shape round. Received: radius=1.0 with shape square.",
        ),
        ({"depth": 1}, "Expected the name of a setting. Received: depth."),
        ({"radius": -1.0}, "Expected radius above 0.0. Received: radius=-1.0."),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError) as refused:
        replaced(Whole(), **changes)
    assert str(refused.value) == message


def test_parts_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Whole().drawing.shape.radius = 2.0


def test_settings_of_the_program_have_names_of_their_own():
    """Or one flag would set two of them."""

    def names(config):
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            yield from names(value) if dataclasses.is_dataclass(value) else [field.name]

    only_together = {"table_top", "rendered", "nearest"}
    for selector, kinds in choices(Config).items():
        for each in kinds:
            base = PRESETS["table_top"] if each in only_together else Config()
            found = [*names(replaced(base, **{selector: each}))]
            assert len(found) == len({*found}), f"{selector}={each}"
