from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from distill.losses.functional.bce import bce_with_logits
from distill.losses.terms import hard_bce
from distill.training.checkpoint_io import read_checkpoint
from tests.jobs.entry import replay, run_dirs, tiny_arguments, train

BROKEN = ["loss.terms.hard.weight=1e39", "model.net.body.dropout=0.3"]


def arguments(root: Path) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith("teacher.")]
    return ["+experiment=funnel/two_tower", *tiny, "name=run"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Root of a run whose loss was not finite, and the step that it left."""
    root = tmp_path_factory.mktemp("non_finite")
    with pytest.raises(SystemExit) as ended:
        train(*arguments(root), *BROKEN)
    assert ended.value.code == 2
    (path,) = (run_dirs(root, "run")[0] / "checkpoints").glob("non_finite_step0_rank0.pt")
    return root, path


def test_the_message_names_step_and_term(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(*arguments(tmp_path), *BROKEN)
    message = " ".join(capsys.readouterr().err.split())
    assert "The loss is not finite." in message
    assert "step 0" in message
    assert "scripts/replay.py" in message


def test_the_step_is_saved_as_plain_data(saved: tuple[Path, Path]) -> None:
    step = torch.load(saved[1], weights_only=True)
    assert step["batch"]["request"]["ids"].shape[0] == step["batch"]["request_id"].shape[0]
    assert not torch.isfinite(step["total"])


def test_replay_reproduces_the_terms(saved: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    root, path = saved
    replay(*arguments(root), *BROKEN, f"step={path}")
    report = " ".join(capsys.readouterr().out.split())
    assert "Step 0 of the model: the loss is inf" in report or "Step 0 of the student: the loss is inf" in report
    value = repr(float(read_checkpoint(path)["parts"]["hard"]))
    assert report.count(value) == 2, "dropout was drawn otherwise"
    assert "No single candidate is at fault" in report


def test_replay_names_the_module_and_the_rows(saved: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    root, path = saved
    step = dict(read_checkpoint(path))
    numbers = step["batch"]["candidate"]["numbers"]
    numbers[3, 0] = float("nan")
    broken = path.with_name("broken.pt")
    torch.save(step, broken)
    replay(*arguments(root), *BROKEN, f"step={broken}")
    report = capsys.readouterr().out
    row, item = (int(step["batch"][name][3]) for name in ("row", "item_id"))
    assert f"row {row} of the split" in report
    assert f"item {item}" in report
    assert "First output not finite: " in report
    assert "batch.candidate.numbers" in report


@pytest.mark.slow
def test_replay_of_a_step_whose_teacher_has_a_head_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["+experiment=quickstart", *tiny_arguments(tmp_path), "name=run", "control.enabled=false"]
    given += ["loss.terms.soft.weight=1e39", "model.net.body.dropout=0.3", "model.head=decoupled"]
    with pytest.raises(SystemExit):
        train(*given)
    (path,) = (run_dirs(tmp_path, "run")[0] / "checkpoints").glob("non_finite_step0_rank0.pt")
    capsys.readouterr()
    replay(*given, f"step={path}")
    report = " ".join(capsys.readouterr().out.split())
    for part in read_checkpoint(path)["parts"].values():
        assert report.count(repr(float(part))) >= 2, "the step is another one"


@pytest.mark.slow
def test_replay_of_something_else(saved: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    root, path = saved
    other = path.with_name("other.pt")
    torch.save({"state_dict": {}}, other)
    with pytest.raises(SystemExit):
        replay(*arguments(root), f"step={other}")
    assert "does not hold a step" in capsys.readouterr().err


def _finite_value_without_a_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    return bce_with_logits(logits, labels) + 0 * (0 * logits).sqrt()


def test_a_gradient_that_is_not_finite_stops_the_run_at_its_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From step 3 on a term has a gradient of NaN, though its value is finite."""
    calls = []

    def breaks(logits: Tensor, labels: Tensor) -> Tensor:
        calls.append(1)
        return (bce_with_logits if len(calls) <= 3 else _finite_value_without_a_gradient)(logits, labels)

    monkeypatch.setattr(hard_bce, "bce_with_logits", breaks)
    with pytest.raises(SystemExit) as ended:
        train(*arguments(tmp_path))
    assert ended.value.code == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "A gradient is not finite, though the loss is." in message
    assert "step 3, term hard" in message
    assert "weight: " in message.split("found:")[1]
    (path,) = (run_dirs(tmp_path, "run")[0] / "checkpoints").glob("non_finite_step3_rank0.pt")
    step = read_checkpoint(path)
    assert torch.isfinite(step["total"])
    assert all(v.isfinite().all() for v in step["state_dict"].values() if v.is_floating_point())
    replay(*arguments(tmp_path), f"step={path}")
    report = " ".join(capsys.readouterr().out.split())
    assert "gradients that are not finite" in report
    assert report.count("not finite") >= 2
