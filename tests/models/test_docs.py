"""The page of the models has each of them, and no other."""

from __future__ import annotations

import re

from tests.jobs.entry import ROOT
from tests.models.listing import BODIES, MODELS, TRUNKS


def test_every_model_is_in_a_table_of_its_page() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / "docs" / "models.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(MODELS)


def test_every_body_and_trunk_is_on_the_page() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert not [name for name in [*BODIES, *TRUNKS] if f"`{name}`" not in text]
