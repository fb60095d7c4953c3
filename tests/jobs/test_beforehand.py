"""What is said before anything is trained."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from distill.jobs.beforehand import warn_of_few_steps


@pytest.mark.parametrize(
    ("steps", "epochs", "max_steps", "batch", "expected"),
    [
        (54, 3, -1, 4096, ("54 steps", "batch_candidates=256 ", "max_epochs=28;")),
        (1, 1, -1, 4096, ("1 steps", "batch_candidates=128 ", "max_epochs=500;")),
        (499, 3, -1, 1024, ("499 steps", "batch_candidates=512 ", "max_epochs=4;")),
        (500, 3, -1, 4096, ()),
        (54, 3, 54, 4096, ()),
        (0, 1, -1, 4096, ()),  # fitted in one pass
    ],
)
def test_few_steps(
    caplog: pytest.LogCaptureFixture, steps: int, epochs: int, max_steps: int, batch: int, expected: tuple[str, ...]
) -> None:
    cfg = {"trainer": {"max_steps": max_steps}, "data": {"loader": {"batch_candidates": batch}}}
    plan = SimpleNamespace(role="student", max_epochs=epochs)
    with caplog.at_level(logging.WARNING):
        warn_of_few_steps(SimpleNamespace(cfg=OmegaConf.create(cfg), plan=plan, planned_steps=lambda: steps))
    assert len(caplog.messages) == bool(expected)
    assert all(part in caplog.messages[0] for part in expected)
