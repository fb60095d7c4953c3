"""The walk of data/README.md: from three logs in daily folders to a distilled student, by config alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from distill.data.dataset import load_dataset
from distill.reports.summary import load_summary
from tests.jobs.entry import path_arguments, run_dirs, run_script, train
from tests.jobs.three_logs import DAYS, write_three_logs

TASKS = """tasks:
  - {name: click, events: {by: [request, item], within: 30m}}
  - {name: purchase, events: {by: {user: buyer, item: item_id}, time: paid_at, within: 1d, unfinished: unobserved}}
"""


@pytest.mark.slow
def test_three_logs_become_a_student(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs, schema = write_three_logs(tmp_path / "logs"), tmp_path / "schema.yaml"
    run_script("scripts/schema.py", "init", str(logs / "impressions"), "--out", str(schema))
    proposed = schema.read_text()
    for line in ("name: impressions", "time: shown_at", "events: {by: [request, item]", "position, side: cross"):
        assert line in proposed
    schema.write_text(proposed[: proposed.index("tasks:")] + TASKS)
    split = [f"data.adapter.split.{key}" for key in ("column=dt", "val=2025-03-06", "test=2025-03-07")]
    train(
        "data=parquet",
        f"data.source={logs / 'impressions'}",
        f"data.schema={schema}",
        f"data.events={{click: {logs / 'clicks'}, purchase: {logs / 'purchases'}}}",
        "split@data.adapter.split=dates",
        *split,
        *("model=two_tower", "teacher=trained", "model@teacher.model=dcn_v2", "loss=listwise", "trainer.max_epochs=1"),
        *("name=walk", "trainer=cpu", "callbacks.progress_bar=false", "cost.enabled=false"),
        *path_arguments(tmp_path),
    )
    assert "labels may come late" not in capsys.readouterr().err
    summary = load_summary(run_dirs(tmp_path, "walk")[0])
    assert list(summary.metrics) == ["teacher", "control", "distilled"]
    assert math.isfinite(summary.metrics["distilled"]["click/auc"])
    (folder,) = (tmp_path / "data").glob("impressions-*")
    dataset = load_dataset(folder)
    assert [sum(part.rows for part in dataset.parts(name)) for name in ("train", "val", "test")] == [
        60 * (DAYS - 2),
        60,
        60,
    ]
    counts = dataset.manifest.counts
    assert counts["events_attributed/click"] == counts["events_read/click"] > 300
    assert counts["events_attributed/purchase"] > 150
    assert "unobserved_labels/test/purchase" not in counts
