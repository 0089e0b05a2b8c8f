"""Settings that nest: parts that can be chosen, and changes by a setting's own name.

Every setting has a name of its own in the whole tree, so it can be a flag of the command line without a
prefix, and be changed without naming the parts that it lies in. Where there are several parts to choose
from, their first field is the same selector, which holds the part's kind.
"""

import dataclasses
import functools
import operator
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro
from pydantic import Field

S = TypeVar("S")
Kinds = dict[str, type]  # the settings of the parts that a selector chooses from, by their kind


def kind(name: str):
    """The type of a selector: the part's kind, which the command line knows from `choices`."""
    return Annotated[Literal[name], tyro.conf.Suppress]


def one_of(selector: str, *alternatives: type):
    """The type of a field that holds one of several parts, whose kind is in the field `selector`."""
    if len(alternatives) == 1:
        return alternatives[0]
    return Annotated[functools.reduce(operator.or_, alternatives), Field(discriminator=selector)]


def _alternatives(hint) -> tuple[type, ...]:
    """The settings that a field may hold, by its annotation."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    hints = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return tuple(each for each in hints if isinstance(each, type) and dataclasses.is_dataclass(each))


def _selector(settings: type) -> tuple[str, str]:
    """The name of a part's selector, which is its first field, and the part's kind."""
    first = dataclasses.fields(settings)[0]
    return first.name, str(first.default)


def choices(settings: type) -> dict[str, Kinds]:
    """The selectors in a tree of settings, and what each chooses from."""
    found = {}
    for hint in get_type_hints(settings, include_extras=True).values():
        alternatives = _alternatives(hint)
        if len(alternatives) > 1:
            selectors = dict(_selector(each)[::-1] for each in alternatives)
            found[next(iter(selectors.values()))] = dict(zip(selectors, alternatives))
        for each in alternatives:
            found |= choices(each)
    return found


def owners(settings: type) -> dict[str, dict[str, list[str]]]:
    """Which kinds of which selector have a setting that other kinds lack.

    Returns:
        By the setting's name: the selector's name to the kinds.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for selector, kinds in choices(settings).items():
        for each, part in kinds.items():
            for field in dataclasses.fields(part)[1:]:
                found.setdefault(field.name, {}).setdefault(selector, []).append(each)
    return found


def flat(settings) -> dict[str, Any]:
    """All settings of a tree, by their names."""
    return dict(_leaves(settings))


def _leaves(settings) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value)
        else:
            yield field.name, value


def replaced(settings: S, **changes) -> S:
    """Settings with other values, wherever in the tree they lie.

    A selector puts the part of this kind, with its defaults, in the place of the one that is there.

    >>> from air_tf.config import ModelConfig
    >>> config = replaced(ModelConfig(), max_objects=2, presence="nvil", signal_decay=0.5)
    >>> config.max_objects, config.estimator.signal_decay
    (2, 0.5)

    Raises:
        ValueError: no part that is there has a setting of this name, or a value is refused.
    """
    selectors = choices(type(settings))
    chosen = {name: changes.pop(name) for name in selectors if name in changes}
    for name, value in chosen.items():
        if value not in [*selectors[name]]:
            raise ValueError(
                f"Expected {name} to be one of {', '.join(selectors[name])}. Received: {name}={value!r}."
            )
    others = {
        part: selectors[name][value]
        for name, value in chosen.items()
        for part in selectors[name].values()
    }
    if unknown := sorted(set(changes) - set(_names(settings, others))):
        present = flat(settings) | chosen
        raise ValueError(_not_there(type(settings), present, unknown[0], changes[unknown[0]]))
    return _replaced(settings, others, changes)


def _chosen(value, others: dict[type, type]):
    """The part itself, or the defaults of the kind to be put in its place."""
    other = others.get(type(value), type(value))
    return value if type(value) is other else other()


def _names(settings, others) -> Iterator[str]:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from _names(_chosen(value, others), others)
        else:
            yield field.name


def _replaced(settings, others, changes):
    fields = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            fields[field.name] = _replaced(_chosen(value, others), others, changes)
        elif field.name in changes:
            fields[field.name] = changes[field.name]
    return dataclasses.replace(settings, **fields)


def _not_there(settings: type, present: dict[str, Any], name: str, value) -> str:
    """Says which choice a setting belongs to that the present ones lack."""
    owned = owners(settings)
    if name not in owned:
        return f"Expected the name of a setting. Received: {name}."
    selector, kinds = choice_of(name, owned, present)
    return (
        f"Expected {name} only with {selector} {' or '.join(kinds)}. "
        f"Received: {name}={value!r} with {selector} {present[selector]}."
    )


def choice_of(name: str, owned: dict[str, dict[str, list[str]]], present: dict[str, Any]):
    """The selector, of those that are present, by which there would be a setting, and the right kinds.

    A selector may itself be a setting of a part that is not chosen; then it is that part's selector.
    """
    selector, kinds = next(iter(owned[name].items()))
    return (selector, kinds) if selector in present else choice_of(selector, owned, present)
