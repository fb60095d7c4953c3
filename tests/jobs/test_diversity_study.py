"""What diversity costs over worlds, at the size of a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.jobs.diversity_options import arguments
from tests.jobs.entry import run_script
from tests.jobs.test_mistakes import message_of

SMALL = [
    "+experiment=quickstart", "data=funnel_tiny", "trainer=cpu", "trainer.max_epochs=1", "teacher.max_epochs=1",
    "callbacks.progress_bar=false", "--k", "12", "--ranked", "10", "--shown", "5",
]  # fmt: skip


@pytest.mark.slow
def test_one_command_from_training_to_the_curve(tmp_path: Path) -> None:
    out = tmp_path / "a"
    run_script("scripts/diversity.py", *SMALL, "--seeds", "0", "1", "--out", str(out))
    found = json.loads((out / "diversity.json").read_text())
    ways = found["ways"]
    assert found["seeds"] == [0, 1]
    assert list(ways)[:2] == ["order", "quotas"]
    assert ways["quotas"]["coverage"][0] > ways["order"]["coverage"][0]
    assert ways["dpp 0.1"]["distance"][0] > ways["order"]["distance"][0]
    assert all(one["value"][1] is not None for one in ways.values())
    assert "| mmr 0.5 |" in (out / "diversity.md").read_text()
    assert (out / "diversity.png").stat().st_size > 20_000
    trained = len(list(out.rglob("summary.json")))
    run_script("scripts/diversity.py", *SMALL, "--seeds", "0", "1", "--out", str(out))  # trains nothing again
    assert len(list(out.rglob("summary.json"))) == trained == 2
    assert json.loads((out / "diversity.json").read_text()) == found


@pytest.mark.parametrize("given", [["--seeds", "1", "1"], ["seed=3", "--seeds", "1"]])
def test_seeds_are_named_once(given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = message_of(capsys, "scripts/diversity.py", *given, "--out", str(tmp_path / "a"))
    assert "--seeds" in said


def test_without_overrides_it_is_the_quickstart(capsys: pytest.CaptureFixture[str]) -> None:
    assert arguments(["--out", "a"]).overrides == ["+experiment=quickstart", "trainer=cpu"]
    with pytest.raises(SystemExit):
        arguments(["--out", "a", "--sed", "1"])
    assert "--sed" in capsys.readouterr().err
