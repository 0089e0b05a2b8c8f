"""The documents' numbers: each is compared with the file that it comes from, which its mark names.

A mark is a comment right behind one or several numbers, which are rounded as they stand:

    98.13 / 98.34% <!-- results/benchmark.jsonl: least greatest "count accuracy" times 100 -->

Its grammar is FILE: [STATISTICS] PATH [where KEY=PATTERN ...] [times FACTOR]; see CONTRIBUTING.md.
"""

import fnmatch
import json
import re
import shlex
import statistics

import pytest
from conftest import REPOSITORY

PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "pretrained/README.md", *PAGES]
MARKED = {  # documents that must have at least one mark
    "README.md", "pretrained/README.md", "docs/estimators.md", "docs/results.md", "docs/serve.md",
    "docs/table-top.md",
}  # fmt: skip
MARK = re.compile(r"<!--\s+(\S+\.jsonl?):\s+(.*?)\s*-->", re.DOTALL)
NUMBER = re.compile(r"(?:(?<=\s)-)?\d+(?:,\d{3})*(?:\.\d+)?")
STATISTICS = {"least": min, "median": statistics.median, "greatest": max, "count": len}


def lookup(record, path):
    """A value by the keys and indices of its path, with slashes between them."""
    for key in path.split("/"):
        record = record[int(key) if isinstance(record, list) else key]
    return record


def values_of(file, query):
    """The values that a mark asks for."""
    words = shlex.split(query)
    *words, _, factor = words if words[-2:-1] == ["times"] else [*words, "times", 1]
    patterns = []
    if "where" in words:
        patterns = [word.split("=", 1) for word in words[words.index("where") + 1 :]]
        words = words[: words.index("where")]
    *wanted, path = words
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    found = [
        lookup(record, path)
        for record in map(json.loads, lines)
        if all(fnmatch.fnmatchcase(str(record.get(key)), pattern) for key, pattern in patterns)
    ]
    if not found or (not wanted and len(found) > 1):
        raise ValueError(f"{len(found)} records that match")
    return [float(factor) * value for value in ([STATISTICS[each](found) for each in wanted] or found)]


def rounded(number, value):
    """Whether a number is the value, rounded to as many decimals."""
    half = 0.5 * 10.0 ** -len(number.partition(".")[2])
    return abs(float(number.replace(",", "")) - value) <= half * (1 + 1e-6)


def wrong_numbers(document, root):
    """A line for each number that is not its file's, and for each mark that cannot be followed."""
    text, end = document.read_text(), 0
    for mark in MARK.finditer(text):
        before, end = text[end : mark.start()].rpartition("\n\n")[2], mark.end()
        place = f"{document.relative_to(root)}:{text.count(chr(10), 0, mark.start()) + 1}"
        if not before.rpartition("\n")[2].strip():  # Markdown would end the paragraph here
            yield f"{place}: Expected a mark right behind its number. Received: one that begins a line."
            continue
        try:
            values = values_of(root / mark[1], mark[2])
        except (OSError, LookupError, TypeError, ValueError) as error:
            yield f"{place}: Expected a value at {mark[1]}: {mark[2]}. Received: {error!r}."
            continue
        numbers = NUMBER.findall(before)[-len(values) :]
        if len(numbers) < len(values) or not all(map(rounded, numbers, values)):
            expected, received = (
                " ".join(f"{value:.6g}" for value in values),
                " ".join(numbers) or "none",
            )
            yield f"{place}: Expected {expected}, from {mark[1]}. Received: {received}."


def test_the_numbers_of_the_documents_are_those_of_their_files():
    wrong = [line for document in DOCUMENTS for line in wrong_numbers(document, REPOSITORY)]
    assert not wrong, "\n".join(wrong)


def test_documents_with_numbers_have_marks():
    found = {d.relative_to(REPOSITORY).as_posix() for d in DOCUMENTS if MARK.search(d.read_text())}
    assert MARKED - found == set()


RECORDS = [{"seed": i, "accuracy": 0.9 + i / 100, "loss": -2.5, "parts": [0, 1234.5]} for i in range(3)]


@pytest.mark.parametrize(
    ("line", "received"),
    [
        ("90.0 / 91.0 / 92.0% <!-- r.jsonl: least median greatest accuracy times 100 --> .", None),
        ("3 seeds <!-- r.jsonl: count seed --> <!-- n -->, 1,234.5 <!-- r.json: parts/1 -->", None),
        ("| 92% <!-- r.jsonl: accuracy where seed=2 times 100 --> | -2.5 <!-- r.json: loss --> |", None),
        ("The median is 91.1% <!-- r.jsonl: median accuracy times 100 -->", "91.1"),
        ("From 90 to 93% <!-- r.jsonl: least greatest accuracy times 100 -->", "90 93"),
        ("No number <!-- r.json: accuracy -->", "none"),
        ("0.91 <!-- r.json: acuracy -->", "KeyError"),
        ("0.91 <!-- s.json: accuracy -->", "FileNotFoundError"),
        ("0.91 <!-- r.jsonl: accuracy -->", "3 records"),
        ("1 <!-- r.jsonl: count seed where seed=7 -->", "0 records"),
        ("0.91\n<!-- r.json: accuracy -->", "begins a line"),
    ],
)  # fmt: skip
def test_a_changed_number_or_an_unknown_path_fails(line, received, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(RECORDS[1]))
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    document = tmp_path / "page.md"
    document.write_text(f"A page of 7.\n\n{line}\n")
    wrong = list(wrong_numbers(document, tmp_path))
    assert len(wrong) == (received is not None)
    assert all(re.match(rf"page.md:[34]: Expected .* Received: .*{received}", w) for w in wrong)
