import os
from pathlib import Path

import pytest

from air_tf.paths import expand, shown


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert expand("~/runs") == Path("/home/ada/runs")
    assert expand("a/~b") == Path("a/~b")


def test_what_is_no_path_is_refused():
    for path in ("", "a\0b", "~no-such-user/x"):
        with pytest.raises(ValueError, match="Expected a path. Received: "):
            expand(path)


def test_without_a_home_folder_a_path_that_needs_one_is_refused(monkeypatch):
    """As in a container whose user has no entry in the passwd file."""
    import pwd

    def unknown(_):
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(ValueError, match="Expected a path. Received: ~/x, whose home folder is unknown"):
        expand("~/x")
    assert expand("x") == Path("x")


def test_every_name_can_be_printed_in_one_line():
    assert shown("Füße 1.png") == "Füße 1.png"
    name = os.fsdecode(b"a\xff\n\x1b[31m.png")
    assert shown(name) == r"a\udcff\n\x1b[31m.png"
    assert shown(Path(name)).isprintable()
