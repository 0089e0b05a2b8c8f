"""Generated input for everything that reads files or requests: three hundred cases each.

`python -m benchmarks.fuzz` feeds the same readers a hundred thousand.
"""

import contextlib

import hypothesis
import pytest

from benchmarks.fuzz_readers import MAKERS, make_reader

CASES = 300
SERVED = {"encoded", "request"}  # which take long
NAMES = [pytest.param(name, marks=[pytest.mark.slow] * (name in SERVED)) for name in MAKERS]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_read_is_read_or_refused(name, tmp_path):
    reader = make_reader(name, tmp_path)

    @hypothesis.settings(
        max_examples=CASES, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(reader.inputs)
    def feed(case):
        with contextlib.suppress(reader.refusals):
            reader.read(case)

    feed()
