"""What happens to files in the middle of a job: a part file that vanishes, a disk that fills up while scoring."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from distill.data.dataset import load_dataset
from distill.reports.summary import load_summary
from distill.training.module import RankingModule
from tests.jobs.entry import path_arguments, run_dirs, run_script, tiny_arguments, train
from tests.jobs.processes import run_all


@pytest.mark.slow
def test_a_part_file_that_vanishes_within_a_run_is_named_and_the_run_goes_on_once_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_script("scripts/prepare.py", "data=funnel_tiny", *path_arguments(tmp_path))
    (folder,) = (path for path in (tmp_path / "data").iterdir() if path.is_dir())
    part = folder / load_dataset(folder).parts("train")[0].path
    away = tmp_path / "away.parquet"
    alone = [a for a in tiny_arguments(tmp_path) if not a.startswith(("teacher.", "data=", "trainer.max_epochs"))]
    arguments = [*alone, "data=prepared", f"data.root={folder}", "trainer.max_epochs=3", "name=vanishing"]
    arguments += ["data.loader.batch_candidates=4096"]  # two steps an epoch
    training_step = RankingModule.training_step

    def lose(self: RankingModule, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 1 and part.exists():
            part.rename(away)
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(RankingModule, "training_step", lose)
        with pytest.raises(SystemExit) as ended:
            train(*arguments)
    message = capsys.readouterr().err
    assert ended.value.code == 2
    assert str(part) in " ".join(message.split())
    assert "Traceback" not in message
    (run,) = run_dirs(tmp_path, "vanishing")
    assert (run / "checkpoints" / "last.ckpt").exists()

    away.rename(part)
    train(*arguments, "resume=last")
    assert run_dirs(tmp_path, "vanishing") == [run]
    assert load_summary(run).steps["model"] == 6


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_full_disk_ends_scoring_with_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    alone = [a for a in tiny_arguments(tmp_path) if not a.startswith("teacher.")]
    train("+experiment=funnel/teacher_dcn_v2", *alone, "name=teacher")
    checkpoint = run_dirs(tmp_path, "teacher")[0] / "checkpoints" / "best.ckpt"
    signals = tmp_path / "signals"
    command = ["scripts/score.py", "data=funnel_tiny", f"teacher.path={checkpoint}", "trainer=cpu", f"out={signals}"]
    command = [sys.executable, *command, *path_arguments(tmp_path)]
    (full,) = run_all([["bash", "-c", 'ulimit -f 8; exec "$@"', "bash", *command]])
    assert full.status == 2, full.errors[-2000:]
    assert "Traceback" not in full.errors
    assert "no room" in full.errors
    assert str(signals) in " ".join(full.errors.split())
    assert [path for path in signals.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    (again,) = run_all([command])
    assert again.status == 0, again.errors[-2000:]
    assert (signals / "provenance.json").exists()
