"""A cascade that lives on its own log, at the size of a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.jobs.feedback_options import ARMS, arguments
from tests.jobs.entry import run_script
from tests.jobs.test_mistakes import message_of

SMALL = [
    "data.adapter.users=30", "data.adapter.items=120", "data.adapter.brands=12", "data.adapter.categories=6",
    "trainer.max_epochs=1", "--rounds", "2", "--requests", "60", "--seeds", "0", "1",
]  # fmt: skip


def study(out: Path, *arms: str) -> dict[str, Any]:
    run_script("scripts/feedback.py", *SMALL, "--out", str(out), "--arms", *arms)
    found: dict[str, Any] = json.loads((out / "feedback.json").read_text())
    return found


@pytest.mark.slow
def test_arms_share_the_first_round_and_differ_after_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("ranker", "production", "labels", "distilled-all+explore")
    found = study(tmp_path / "a", *names)
    assert list(found["arms"]) == list(names)
    for name in ("production", "labels"):
        assert found["arms"][name]["gini"][0] == found["arms"]["ranker"]["gini"][0]
    later = [tuple(found["arms"][name]["chance"][2]) for name in names]
    assert len(set(later)) == len(names)
    assert found["arms"]["ranker"]["chance"][2][0] == max(mean for mean, _ in later)
    assert (tmp_path / "a" / "feedback.png").stat().st_size > 20_000
    assert "| labels |" in (tmp_path / "a" / "feedback.md").read_text()
    text = capsys.readouterr().out
    assert "mean ± deviation over 2 worlds" in text
    trained = len(list((tmp_path / "a").rglob("best.ckpt")))
    again = study(tmp_path / "a", *names)  # what is there is read
    assert again == found
    assert len(list((tmp_path / "a").rglob("best.ckpt"))) == trained == 2 * 2 * 2


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (["--rounds", "0"], ["--rounds", "1 or more"]),
        (["--explore", "1"], ["--explore", "a share"]),
        (["--seeds", "1", "1"], ["--seeds", "different"]),
        (["data.adapter.item=4"], ["data.adapter.item=4", "conf/data/funnel.yaml"]),
        (["data.adapter.seed=4"], ["data.adapter.seed=4"]),
        (["data.adapter.items=many"], ["data.adapter.items=many"]),
        (["data.adapter.items=10"], ["max_candidates"]),
    ],
)
def test_what_is_no_study_is_refused(
    given: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = message_of(capsys, "scripts/feedback.py", *given, "--out", str(tmp_path / "a"), "--arms", "production")
    assert all(part in said for part in parts), said


def test_a_damaged_result_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_script("scripts/feedback.py", *SMALL, "--out", str(tmp_path / "a"), "--arms", "production")
    done = tmp_path / "a" / "production" / "seed-0" / "measured.json"
    done.write_text(done.read_text().replace("gini", "gino"))
    said = message_of(capsys, "scripts/feedback.py", *SMALL, "--out", str(tmp_path / "a"), "--arms", "production")
    assert "cannot be read" in said


def test_the_command_line_says_what_the_arms_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(f"{name}: " in text for name in ARMS)
    with pytest.raises(SystemExit):
        arguments(["--out", "a", "--sed", "1"])
