"""What a run leaves beside its numbers comes back as it was, and damage is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.errors import DataError
from distill.reports.evidence import EVIDENCE_FILE, load_evidence
from tests.reports.page.pages import evidence


def test_a_round_trip(tmp_path: Path) -> None:
    assert load_evidence(tmp_path) is None
    evidence().save(tmp_path)
    assert load_evidence(tmp_path) == evidence()


@pytest.mark.parametrize("text", ["{", "[]", '{"data": 5}', '{"data": {"name": "a"}}'])
def test_damage_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / EVIDENCE_FILE).write_text(text)
    with pytest.raises(DataError, match="The curves of the run are damaged"):
        load_evidence(tmp_path)
