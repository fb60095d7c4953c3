"""A production ranker as the teacher: scores of some tasks, hidden vectors, and what a run says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from distill.data.dataset import load_dataset
from distill.data.format import MANIFEST_FILE
from distill.reports.summary import load_summary
from distill.training.checkpoint_io import read_checkpoint
from tests.jobs.entry import path_arguments, replay, run_dirs, run_script, train

REQUESTS, CANDIDATES = 150, 8
SCHEMA: dict[str, Any] = {
    "name": "logged",
    "layout": "requests",
    "keys": {"request": "query", "user": "user", "item": "item", "time": "ts", "stage": "stage"},
    "fields": [
        {"name": "user", "side": "request", "kind": "id"},
        {"name": "item", "side": "candidate", "kind": "id"},
        {"name": "match", "side": "cross", "kind": "number"},
    ],
    "tasks": [
        {"name": "like", "observed": "exposed"},
        {"name": "click", "observed": "exposed"},
        {"name": "purchase", "observed": "exposed"},
    ],
    "teacher": {
        "columns": {"click": "score"},
        "kind": "probability",
        "hidden": {"body": {"column": "vec", "width": 3, "type": "float16"}},
    },
}


def write_logs(path: Path) -> None:
    """One row per candidate; every tenth has neither score nor vector."""
    rng = np.random.default_rng(0)
    n = REQUESTS * CANDIDATES
    request, item = np.repeat(np.arange(REQUESTS), CANDIDATES), rng.integers(0, 30, n)
    probability = 1 / (1 + np.exp(-3 * np.sin(item + request % 7)))
    absent = np.arange(n) % 10 == 3
    columns = {
        "query": request,
        "user": request % 20,
        "item": item,
        "ts": request,
        "stage": pa.array(np.where(np.arange(n) % 2 == 0, "exposed", "recalled")),
        "match": rng.normal(size=n),
        "score": pa.array(probability, mask=absent),
        "far": np.full(n, 0.9),
        "vec": pa.array([None if a else v for a, v in zip(absent, rng.normal(size=(n, 3)).tolist(), strict=True)]),
    }
    for task in ("like", "click", "purchase"):
        columns[task] = (rng.random(n) < probability * 0.5).astype(np.int8)
    pq.write_table(pa.table(columns), path)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("logged")
    (root / "logs").mkdir()
    write_logs(root / "logs" / "log.parquet")
    return root


def arguments(root: Path, name: str, **schema: Any) -> list[str]:
    path = root / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**SCHEMA, **schema}))
    own = ["data=parquet", f"data.source={root / 'logs'}", f"data.schema={path}", *path_arguments(root)]
    return [
        *own,
        "trainer=cpu",
        "trainer.max_epochs=1",
        "data.loader.batch_candidates=4096",
        "callbacks.progress_bar=false",
        "cost.enabled=false",
    ]


def distil(root: Path, name: str, *changes: str, **schema: Any) -> dict[str, dict[str, float]]:
    train(*arguments(root, name, **schema), "teacher=column", f"name={name}", *changes)
    return load_summary(run_dirs(root, name)[-1]).metrics


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.err + captured.out).split())


@pytest.mark.slow
def test_a_score_of_one_task_teaches_that_task(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = distil(root, "some", "loss=listwise", "sampling=pseudo_labels", "teacher.calibration=platt")
    assert list(metrics) == ["teacher", "control", "distilled"]
    assert {name.split("/")[0] for name in metrics["teacher"] if "/" in name} == {"click"}
    assert metrics["teacher"]["click/auc"] > 0.55
    assert {"like/auc", "click/auc", "purchase/auc"} <= metrics["distilled"].keys()
    assert metrics["teacher"]["click/pcoc"] == pytest.approx(1, abs=0.4)
    text = said(capsys)
    assert text.count("Teacher, task click: 864 of 960 training candidates scored (90.0%") == 1
    assert text.count("The teacher orders candidates by click: it does not score like, purchase.") == 1
    assert "task like:" not in text
    assert "will train for only 1 steps" in text
    assert "trainer.max_epochs=500" in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["loss=pointwise", "loss.terms.soft.tasks=[click,like]"], "loss.terms.soft"),
        (["loss=pointwise", "sampling=pseudo_labels", "+sampling.pseudo.tasks=[purchase]"], "PseudoLabels.tasks"),
        (
            ["+loss_term@loss.terms.hint=hint", "loss.terms.hint.teacher=towers"],
            "found: towers",
        ),
    ],
)
def test_what_the_teacher_does_not_give_is_refused_before_training(
    root: Path, tmp_path: Path, changes: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        distil(root, "refused", *changes, f"paths.cache={tmp_path}")
    assert ended.value.code == 2
    text = said(capsys)
    assert expected in text
    assert "Traceback" not in text
    assert "does not score" in text or "no such hidden vector" in text
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_a_teacher_of_no_task_of_the_score_is_measured_without_order(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = distil(root, "unordered", "loss=pointwise", score={"tasks": {"purchase": 1.0}})
    text = said(capsys)
    assert "The teacher scores no task of the ranking score (purchase)" in text
    assert "metric teacher_recall is left out or partial: the teacher scores no task of the ranking score" in text
    assert "click/auc" in metrics["teacher"]
    for values in metrics.values():
        assert not any(name.startswith("teacher_") for name in values)


@pytest.mark.parametrize("layout", ["requests", "flat"])
@pytest.mark.slow
def test_hidden_vectors_teach(root: Path, layout: str) -> None:
    terms = [f"+loss_term@loss.terms.{name}={name}" for name in ("hint", "relational", "de")]
    terms = terms if layout == "requests" else [terms[0], terms[2]]
    metrics = distil(root, f"hidden-{layout}", "loss=hard", *terms, "control.enabled=false", layout=layout)
    assert list(metrics) == ["teacher", "distilled"]
    state = read_checkpoint(run_dirs(root, f"hidden-{layout}")[-1] / "checkpoints" / "best.ckpt")["state_dict"]
    assert state["loss.terms.hint.project.weight"].shape[0] == 3


@pytest.mark.slow
def test_prepare_and_run_warn_of_columns_that_look_wrong(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_logits = {"columns": {"click": "score"}, "kind": "logit"}
    run_script("scripts/prepare.py", *arguments(root, "logits", teacher=as_logits)[:6])
    assert "WARNING: The teacher's scores of task click are declared as logits" in said(capsys)
    off = {"columns": {"click": "far"}, "kind": "probability"}
    distil(root, "off", "loss=pointwise", "control.enabled=false", teacher=off)
    text = said(capsys)
    assert "WARNING: The teacher expects" in text
    assert "teacher.calibration=platt" in text
    distil(root, "off", "loss=pointwise", "control.enabled=false", "teacher.calibration=platt", teacher=off)
    assert "WARNING: The teacher expects" not in said(capsys)


@pytest.mark.slow
def test_written_signals_are_described_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = arguments(root, "ranker")
    train(*own, "name=ranker", "model=dcn_v2")
    checkpoint = run_dirs(root, "ranker")[-1] / "checkpoints" / "best.ckpt"
    folder = root / "signals"
    score = [argument for argument in own if argument.startswith(("data", "paths"))]
    run_script("scripts/score.py", *score, f"teacher.path={checkpoint}", "trainer=cpu", f"out={folder}")
    capsys.readouterr()
    metrics = distil(root, "ranker", f"teacher.path={folder}", "loss=pointwise", "control.enabled=false")
    text = said(capsys)
    for task in ("like", "click", "purchase"):
        assert f"Teacher, task {task}: 960 of 960 training candidates scored (100.0%" in text
        assert f"{task}/auc" in metrics["teacher"]
    assert "orders candidates by" not in text


@pytest.mark.slow
def test_a_broken_step_is_replayed_without_the_tasks_that_have_no_teacher(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = ["loss=pointwise", "loss.terms.hard.weight=1e39", "control.enabled=false"]
    with pytest.raises(SystemExit):
        distil(root, "broken", *broken)
    (path,) = (run_dirs(root, "broken")[-1] / "checkpoints").glob("non_finite_*.pt")
    saved = read_checkpoint(path)
    assert torch.isnan(saved["signals"]["logits"][:, 0]).all()
    capsys.readouterr()
    replay(*arguments(root, "broken"), "teacher=column", "name=broken", *broken, f"step={path}")
    text = said(capsys)
    assert repr(float(saved["parts"]["soft"])) in text
    assert "No single candidate is at fault" in text


def test_manifest_counts_the_training_split(root: Path) -> None:
    run_script("scripts/prepare.py", *arguments(root, "some")[:6])
    found = [load_dataset(p.parent).manifest for p in (root / "data").glob(f"logged-*/{MANIFEST_FILE}")]
    numbers = next(m.teacher for m in found if m.teacher and "click" in m.teacher)["click"]
    assert sum(numbers.candidates.values()) == 960
    assert numbers.labelled > 0
