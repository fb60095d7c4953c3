"""Runs of two processes whose steps are captured: what DDP learns, and exactly that after an interruption."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.jobs.entry import run_dirs, tiny_arguments
from tests.jobs.processes import run_python
from tests.jobs.run_state import checkpoint_state, difference, history, summary_state
from tests.patience import patience

pytestmark = pytest.mark.slow
_DISTILLED = ["+experiment=quickstart", "control.enabled=false", "trainer.max_epochs=2", "scheduler=cosine"]
_STOP = "TESTS_STOP_RANK_1_BEFORE_STEP"  # of tests.training.capture.on_cpu, which must not be imported here
_WITHOUT_DROPOUT = "model.net.body.dropout=0"  # whose draws depend on the number of rows


def _trained(root: Path, name: str, *more: str, ranks: int = 2, status: int = 0) -> list[str]:
    """Trains in ranks and returns what each has said."""
    folder = root / f"ranks_of_{name}_{len(list(root.iterdir()))}"
    folder.mkdir()
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("trainer=", "trainer.max_epochs", "teacher."))]
    own = ["trainer=ddp_sim", f"trainer.devices={ranks}", "data.loader.batch_candidates=200", f"name={name}"]
    task = {
        "arguments": [*_DISTILLED, *tiny, *own, *more],
        "modules": ["distill.jobs.train", "tests.training.capture.on_cpu"],
        "runs": 1,
        "nodes": 1,
        "ranks": ranks,
        "seconds": 0.4 * patience(),
        "folder": str(folder),
    }
    done = run_python("-m", "tests.jobs.forked_ranks", json.dumps(task))
    assert done.status == 0, done.errors[-3000:]
    found = json.loads((folder / "runs.jsonl").read_text(encoding="utf-8"))
    said = [(folder / f"0_{rank}.log").read_text(errors="replace") for rank in range(ranks)]
    assert found["status"] == [status] * ranks, said[0][-3000:]
    return said


def _replays(said: str) -> list[int]:
    (line,) = re.findall(r"^replays:(.*)$", said, re.MULTILINE)
    return [int(number) for number in line.split()]


def test_two_processes_learn_what_they_learn_without(tmp_path: Path) -> None:
    _trained(tmp_path, "off", _WITHOUT_DROPOUT)
    said = _trained(tmp_path, "auto", _WITHOUT_DROPOUT, "trainer.capture=auto", f"paths.cache={tmp_path / 'other'}")
    assert said[0].count("Training steps are captured.") == 2  # teacher and student
    for of_rank in said:
        assert len(_replays(of_rank)) == 2
        assert all(number > 5 for number in _replays(of_rank))
        assert "all-reduces of a recorded step: 3\n" in of_rank  # denominators, dense gradients, flag; none by DDP
        assert re.findall(r"^waits:(.*)$", of_rank, re.MULTILINE) == [""]
    off, auto = (history(run_dirs(tmp_path, name)[0], "student") for name in ("off", "auto"))
    assert off.keys() == auto.keys()
    for tag, values in off.items():
        assert [step for step, _ in auto[tag]] == [step for step, _ in values], tag
        if tag != "train/data_wait":
            assert [v for _, v in auto[tag]] == pytest.approx(
                [v for _, v in values], rel=5e-3, abs=5e-3, nan_ok=True
            ), tag


def test_a_run_that_one_process_was_told_to_end_goes_on_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _trained(tmp_path, "whole", "trainer.capture=auto")
    with monkeypatch.context() as patch:
        patch.setenv(_STOP, "6")
        _trained(tmp_path, "stopped", "trainer.capture=auto", status=130)
    said = _trained(tmp_path, "stopped", "trainer.capture=auto", "resume=last")
    assert all(number > 0 for number in _replays(said[0]))
    (whole,), (stopped,) = run_dirs(tmp_path, "whole"), run_dirs(tmp_path, "stopped")
    assert difference(checkpoint_state(whole), checkpoint_state(stopped)) is None
    assert difference(history(whole, "student"), history(stopped, "student")) is None
    assert difference(summary_state(whole), summary_state(stopped)) is None


def test_ddp_with_one_process_is_captured_and_is_the_run_without_ddp(tmp_path: Path) -> None:
    captured = ["trainer.capture=auto", "trainer.precision=bf16-mixed"]
    said = _trained(tmp_path, "ddp", *captured, ranks=1)
    _trained(tmp_path, "alone", *captured, "trainer.strategy=auto", f"paths.cache={tmp_path / 'other'}", ranks=1)
    assert len(_replays(said[0])) == 2
    assert all(number > 5 for number in _replays(said[0]))
    with_ddp, without = (checkpoint_state(run_dirs(tmp_path, name)[0]) for name in ("ddp", "alone"))
    assert difference(with_ddp["state_dict"], without["state_dict"]) is None
    assert difference(with_ddp["optimizer_states"], without["optimizer_states"]) is None
