from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.jobs.entry import run_dirs, tiny_arguments, train


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith("teacher.")]
    with pytest.raises(SystemExit):
        train("+experiment=funnel/two_tower", *tiny, "name=run", "loss.terms.hard.weight=1e39")
    message = " ".join(capsys.readouterr().err.split())
    assert "The loss is not finite." in message
    assert "step 0" in message
    (saved,) = (run_dirs(tmp_path, "run")[0] / "checkpoints").glob("non_finite_step0_rank0.pt")
    batch = torch.load(saved, weights_only=True)
    assert batch["request"]["ids"].shape[0] == batch["request_id"].shape[0]
