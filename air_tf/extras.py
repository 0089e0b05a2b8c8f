"""Packages that only some of the program needs, and which come with an extra of air_tf."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Is wrapped around the import of packages that come with an extra.

    Raises:
        ValueError: one of them is not installed; the message says how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(
            f'Expected the package {error.name}, which pip install "air_tf[{name}]" installs. '
            "Received: none."
        ) from error
