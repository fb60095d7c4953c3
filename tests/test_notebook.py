"""The notebook of the docs, in a small world, in a folder of its own."""

from __future__ import annotations

import logging
import runpy
import sys
from pathlib import Path

import pytest

from distill.reports.summary import Summary
from tests.jobs.entry import ROOT

TINY = {
    'DATA = ["data=funnel", "data.adapter.requests=4000", "data.adapter.users=1000", "data.adapter.items=1000"]': (
        'DATA = ["data=funnel_tiny"]'
    ),
    '"trainer.max_epochs=3"': '"trainer.max_epochs=1", "cost.enabled=false"',
}


@pytest.mark.slow
def test_the_notebook_runs_and_leaves_the_program_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "notebook.py").read_text(encoding="utf-8")
    for written, tiny in TINY.items():
        assert text.count(written) == 1
        text = text.replace(written, tiny)
    (tmp_path / "notebook.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    root, arguments = logging.getLogger(), sys.argv
    before = (list(root.handlers), list(root.filters), root.level)
    cells = runpy.run_path("notebook.py")
    assert (root.handlers, root.filters, root.level) == before
    assert sys.argv is arguments
    assert isinstance(cells["taught"], Summary)
    assert set(cells["taught"].metrics) == {"teacher", "control", "distilled"}
    assert {row.role for row in cells["rows"]} == {"model", "teacher", "control", "distilled"}
    said = capsys.readouterr().out
    assert "Did you mean parquet" in said
    (folder,) = (tmp_path / "runs" / "taught").iterdir()
    for record in (".hydra/config.yaml", ".hydra/overrides.yaml", "manifest.json", "config.yaml", "summary.json"):
        assert (folder / record).is_file()
    log = (folder / "train.log").read_text(encoding="utf-8")
    assert "Run folder" in log
    assert (tmp_path / "runs" / "comparison.json").is_file()
