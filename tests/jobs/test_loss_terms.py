"""Every loss term of the config trains, in one run with all of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distill.reports.summary import load_summary
from tests.jobs.entry import ROOT, path_arguments, run_dirs, train

TERMS = sorted(path.stem for path in (ROOT / "conf" / "loss_term").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("signals", ["online", "cached"])
def test_all_terms_in_one_run(signals: str, tmp_path: Path) -> None:
    added = [f"+loss_term@loss.terms.{term}={term}" for term in TERMS]
    train(
        *("+debug=quick", "data=funnel_tiny", "teacher=trained", f"teacher.signals={signals}", "trainer=cpu"),
        *(
            "teacher.privileged=false",
            "model=late_mlp",
            "~loss.terms.hard",
            "control.enabled=false",
            "cost.enabled=false",
            "trainer.log_every_n_steps=1",
        ),
        *("callbacks.progress_bar=false", "name=run", *added, *path_arguments(tmp_path)),
    )
    folder = run_dirs(tmp_path, "run")[0]
    assert math.isfinite(load_summary(folder).metrics["distilled"]["click/auc"])
    events = EventAccumulator(str(folder / "tensorboard" / "student"))
    events.Reload()
    for term in TERMS:
        tag = f"train/loss_{term}"
        values = [event.value for event in events.Scalars(tag)]
        assert values
        assert all(math.isfinite(value) and value > 0 for value in values), term
