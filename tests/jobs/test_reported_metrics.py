"""What runs and sweeps report when tasks, lists or teachers are not the usual ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from distill.reports.summary import Summary, load_summary
from tests.jobs.archives import write_letor
from tests.jobs.entry import path_arguments, run_dirs, run_script, train

REQUESTS, CANDIDATES, RANKED, EXPOSED = 150, 12, 6, 3
SCHEMA: dict[str, Any] = {
    "name": "shop",
    "layout": "requests",
    "keys": {"request": "query", "user": "user", "item": "item", "time": "ts", "stage": "stage"},
    "fields": [
        {"name": "user", "side": "request", "kind": "id"},
        {"name": "item", "side": "candidate", "kind": "id"},
        {"name": "match", "side": "cross", "kind": "number"},
    ],
    "tasks": [{"name": "like", "observed": "exposed"}],
    "teacher": {"columns": {"like": "score"}, "kind": "probability"},
}
QUIET = ["trainer=cpu", "trainer.max_epochs=1", "callbacks.progress_bar=false", "cost.enabled=false"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One row per candidate; the ranker scored six of twelve, three of these were exposed."""
    root = tmp_path_factory.mktemp("shop")
    rng, n = np.random.default_rng(0), REQUESTS * CANDIDATES
    place, item = np.tile(np.arange(CANDIDATES), REQUESTS), rng.integers(0, 30, n)
    probability = 1 / (1 + np.exp(-np.sin(item)))
    table = {
        "query": np.repeat(np.arange(REQUESTS), CANDIDATES),
        "user": np.repeat(np.arange(REQUESTS), CANDIDATES) % 20,
        "item": item,
        "ts": np.repeat(np.arange(REQUESTS), CANDIDATES),
        "stage": np.where(place < EXPOSED, "exposed", np.where(place < RANKED, "ranked", "recalled")),
        "match": rng.normal(size=n),
        "score": pa.array(probability, mask=place >= RANKED),
        "like": (rng.random(n) < probability * 0.5).astype(np.int8),
        "seconds": rng.exponential(90, n),
    }
    (root / "logs").mkdir()
    pq.write_table(pa.table(table), root / "logs" / "log.parquet")
    return root


def arguments(root: Path, name: str, **schema: Any) -> list[str]:
    path = root / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**SCHEMA, **schema}))
    data = ["data=parquet", f"data.source={root / 'logs'}", f"data.schema={path}", "data.main_task=like"]
    return [*data, *path_arguments(root), *QUIET, f"name={name}"]


def run(root: Path, name: str, *more: str, **schema: Any) -> Summary:
    train(*arguments(root, name, **schema), *more)
    return load_summary(run_dirs(root, name)[-1])


@pytest.mark.slow
def test_a_ranker_that_scored_ranked_candidates_only(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its lists of six are shorter than ten: recall@10 was 1.0 by construction, and "53 % of the gap" followed."""
    cut = ["metrics.metrics.stage_recall.ks=[5]", "metrics.metrics.teacher_recall.ks=[8]"]
    found = run(root, "partial", "teacher=column", "loss=listwise", *cut)
    assert found.scored == pytest.approx(RANKED / CANDIDATES)
    for role in ("control", "distilled"):
        assert not math.isnan(found.metrics[role]["like/recall@10"])
        assert math.isnan(found.on_scored[role]["like/recall@10"])
        assert math.isnan(found.metrics[role]["teacher_recall@8_10"])
        assert 0 < found.metrics[role]["stage_recall@5_exposed"] < 1
        assert found.metrics[role]["stage_recall@5_ranked"] <= 5 / RANKED
    assert math.isnan(found.metrics["teacher"]["like/recall@10"])
    assert found.counted["teacher"]["like/recall@10"] == 0
    assert 0 < found.counted["distilled"]["like/recall@10"] <= found.requests
    assert not found.gap_recovered.keys() & {"like/recall@10", "teacher_recall@8_10", "like/recall@20"}
    assert "like/auc" not in found.on_scored["control"]  # all that was labelled was scored
    printed = capsys.readouterr().out
    assert "On the 50% of the candidates that the teacher scored" in printed
    assert f"Of {found.requests} requests, those count" in " ".join(printed.split())
    folder, out = run_dirs(root, "partial")[-1], root / "out"
    run_script("scripts/compare.py", str(folder), "--out", str(out))
    shown = (out / "comparison.md").read_text().splitlines()[0]
    assert "stage_recall@5_exposed" in shown
    assert "teacher_recall" not in shown


def test_flat_logs_have_no_recall_of_requests(root: Path) -> None:
    keys = {"user": "user", "item": "item", "time": "ts"}
    found = run(root, "flat", layout="flat", keys=keys, teacher=None, tasks=[{"name": "like"}])
    values = found.metrics["model"]
    assert values["like/auc"] > 0
    for name in ("like/recall@10", "like/recall@20", "like/ndcg@10", "like/stage_recall@20", "coverage@20"):
        assert math.isnan(values[name]), name
    assert found.counted["model"]["like/ndcg@10"] == 0
    assert found.data_of_seed is False


@pytest.mark.slow
def test_a_sweep_on_graded_labels_ends_with_its_table_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [f"data.source={write_letor(tmp_path / 'letor')}", "data.loader.batch_candidates=64"]
    sweep = ["loss.terms.hard.weight=1,2", "seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    train("-m", "+experiment=lightgbm_rank/dnn", *data, *path_arguments(tmp_path), *QUIET, *sweep)
    assert "4 runs" in capsys.readouterr().out
    rows = json.loads((tmp_path / "sweep" / "comparison.json").read_text())
    assert [(row["role"], row["seeds"], len(row["datasets"])) for row in rows] == [("model", [0, 1], 2)] * 2
    head = (tmp_path / "sweep" / "comparison.md").read_text().splitlines()[0]
    assert "| relevance/ndcg@1 | relevance/ndcg@3 |" in head
    assert (tmp_path / "sweep" / "comparison.png").read_bytes().startswith(b"\x89PNG")
