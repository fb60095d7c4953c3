"""The learning curve has each validation once, over restarts too."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from distill.errors import DataError
from distill.metrics.learning import LearningCurve
from distill.training.callbacks import Learning


def validate(callback: Learning, step: int, value: float, loss: float | None) -> None:
    metrics = {"val/auc": value} | ({} if loss is None else {"train/loss": loss})
    trainer: Any = SimpleNamespace(global_step=step, callback_metrics=metrics)
    callback.on_validation_start(trainer, trainer)
    callback.on_validation_end(trainer, trainer)


def test_points_and_what_is_not_finite() -> None:
    callback = Learning("val/auc")
    validate(callback, 5, 0.6, None)
    validate(callback, 10, math.nan, 0.7)
    assert callback.curve == LearningCurve("val/auc", [5, 10], [0.6, None], [None, 0.7])


def test_a_restart_goes_on_and_a_step_that_is_validated_again_counts_once() -> None:
    before, after = Learning("val/auc"), Learning("val/auc")
    validate(before, 5, 0.6, 0.7)
    trainer, checkpoint = SimpleNamespace(callback_metrics={"train/loss": 0.5}), dict[str, Any]()
    before.on_save_checkpoint(cast(Any, trainer), cast(Any, None), checkpoint)
    validate(before, 10, 0.1, 0.1)  # after the checkpoint: lost
    after.on_load_checkpoint(cast(Any, None), cast(Any, None), checkpoint)
    validate(after, 5, 0.61, None)
    validate(after, 10, 0.8, None)  # nothing was logged since the restart
    assert after.curve == LearningCurve("val/auc", [5, 10], [0.61, 0.8], [0.5, 0.5])


@pytest.mark.parametrize(
    "kept",
    [
        [],
        {"points": [[5], [0.6], [0.7]]},
        {"points": [[5], [0.6]], "loss": None},
        {"points": [[5, 10], [0.6], [0.7]], "loss": None},
        {"points": [["5"], [0.6], [0.7]], "loss": None},
        {"points": [[5], ["<script>"], [0.7]], "loss": None},
        {"points": [[5], [0.6], [0.7]], "loss": "low"},
    ],
)
def test_what_is_no_curve_is_refused(kept: Any) -> None:
    with pytest.raises(DataError, match="learning curve cannot be read"):
        Learning("val/auc").on_load_checkpoint(cast(Any, None), cast(Any, None), {"distill_learning": kept})
