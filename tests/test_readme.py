"""The README's Python runs as it stands there."""

import re

from tests.conftest import REPOSITORY


def test_the_library_example_runs(capsys):
    [code] = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    exec(code, {})
    assert "[1]" in capsys.readouterr().out  # one object


def test_the_readme_is_short():
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.splitlines()) <= 170 and len(text.split()) <= 1400
