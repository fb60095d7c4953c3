"""`sampling=…`: through the main job, and that the control does without what comes from the teacher."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.batch import Origin
from distill.reports.summary import load_summary
from distill.training.module import RankingModule
from tests.jobs.entry import path_arguments, run_dirs, train


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sampling=none"], {"student": set()}),
        (["sampling=pseudo_labels"], {"student": {Origin.PSEUDO_POSITIVE, Origin.PSEUDO_NEGATIVE}, "control": set()}),
        (["sampling=stage_negatives"], {"student": {Origin.STAGE_NEGATIVE}}),
        (
            ["sampling=pseudo_labels", "+sampler@sampling.more=stage_negatives"],
            {
                "student": {Origin.PSEUDO_POSITIVE, Origin.PSEUDO_NEGATIVE, Origin.STAGE_NEGATIVE},
                "control": {Origin.STAGE_NEGATIVE},
            },
        ),
    ],
)
@pytest.mark.slow
def test_rows_that_each_role_learns_from(
    arguments: list[str], expected: dict[str, set[Origin]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[int]] = {}
    step = RankingModule.training_step

    def watched(self: RankingModule, batch: object, batch_idx: int) -> torch.Tensor:
        loss = step(self, batch, batch_idx)  # type: ignore[arg-type]
        assert self.last_batch is not None
        role = Path(self.trainer.default_root_dir).name
        seen.setdefault(role.split("-")[0], set()).update(self.last_batch.origin.tolist())
        return loss

    monkeypatch.setattr(RankingModule, "training_step", watched)
    train(
        *("+debug=quick", "data=funnel_tiny", "teacher=trained", "teacher.privileged=false", "trainer=cpu", "name=run"),
        *("cost.enabled=false", "callbacks.progress_bar=false", *arguments, *path_arguments(tmp_path)),
    )
    found = {"student" if role == "checkpoints" else role: origins - {0} for role, origins in seen.items()}
    assert found == {"teacher": set(), **expected}
    distilled = "control" in expected
    assert list(load_summary(run_dirs(tmp_path, "run")[0]).metrics) == (
        ["teacher", "control", "distilled"] if distilled else ["teacher", "model"]
    )
