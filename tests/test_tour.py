"""The notebook, from its first cell to its last."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY


@pytest.mark.slow
def test_the_notebook_runs():
    notebook = nbformat.read(REPOSITORY / "docs" / "tour.ipynb", as_version=4)
    options = {"timeout": 300, "resources": {"metadata": {"path": str(REPOSITORY / "docs")}}}
    NotebookClient(notebook, **options).execute()
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert all(outputs[1:])  # each but the imports shows something
    assert "image/png" in outputs[3][-1].data
