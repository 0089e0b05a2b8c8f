"""The notebook, from its first cell to its last."""

import sys

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY


@pytest.fixture
def notebook():
    return nbformat.read(REPOSITORY / "docs" / "tour.ipynb", as_version=4)


@pytest.mark.slow
def test_the_notebook_runs(notebook):
    options = {"timeout": 300, "resources": {"metadata": {"path": str(REPOSITORY / "docs")}}}
    NotebookClient(notebook, **options).execute()
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert all(outputs[1:])  # each but the imports shows something
    assert "image/png" in outputs[3][-1].data


@pytest.mark.usefixtures("eagerly")
def test_its_cells_run_without_jupyter(notebook, monkeypatch):
    monkeypatch.chdir(REPOSITORY / "docs")
    monkeypatch.setattr(sys, "path", [*sys.path])  # which the first cell adds to
    names = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    assert len(names["history"].history["elbo"]) == 3
