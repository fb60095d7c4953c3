"""Labels that cannot teach, or by which nothing can be judged, are refused before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose
from omegaconf import DictConfig

from distill.data.format import Dataset
from distill.data.labels import LabelCounts, label_counts
from distill.data.prepare import prepare
from distill.data.raw import RawDataset
from distill.data.split import ColumnSplit
from distill.errors import ConfigError, DataError
from distill.jobs.learnable import check_labels
from distill.jobs.monitored import check_measured, value_on_validation
from distill.schema import Schema, parse_schema
from tests.jobs.entry import path_arguments, tiny_arguments, train
from tests.marks import slow_except, some_fast
from tests.models.composing import composing

REQUESTS, CANDIDATES = 12, 24
COUNT = REQUESTS * CANDIDATES


def schema(layout: str = "requests", **task: Any) -> Schema:
    """A log with the task `click`, and `other`, which is fine in every split."""
    return parse_schema(
        {
            "name": "log",
            "layout": layout,
            "keys": {"request": "request", "user": "user", "item": "item"},
            "fields": [
                {"name": "user", "side": "request", "kind": "id"},
                {"name": "item", "side": "candidate", "kind": "id"},
            ],
            "tasks": [{"name": "click", **task}, {"name": "other"}],
            "score": {"tasks": {"other": 1.0}},
        },
        "the test",
    )


def written(folder: Path, own: Schema, labels: Mapping[str, Any]) -> Dataset:
    """Prepares a log whose `click` is, by split, as given: a number, null, or a function of the row."""
    folder.mkdir(exist_ok=True)
    tables = []
    for position, split in enumerate(("train", "val", "test")):
        row = np.arange(COUNT)
        label = labels.get(split, lambda row: row % 2)
        click = label(row) if callable(label) else np.full(COUNT, label)
        columns = {
            "request": row // CANDIDATES + 1000 * position,
            "user": row // CANDIDATES,
            "item": row % 40,
            "click": pa.array(click, pa.float64()) if label is not None else pa.nulls(COUNT, pa.float64()),
            "other": row % 2,
            "split": [split] * COUNT,
        }
        tables.append(pa.table(columns))
    pq.write_table(pa.concat_tables(tables), folder / "log.parquet")
    return prepare(RawDataset((folder / "log.parquet",), own, ColumnSplit("split")), folder / "data", progress=False)


def config(dataset: Dataset, *overrides: str) -> DictConfig:
    with composing():
        known = ["data=prepared", f"data.root={dataset.root}", "callbacks.monitor=val/click/auc"]
        return compose("config", [*known, *overrides])


@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_labels_are_counted(tmp_path: Path, layout: str) -> None:
    half_null = [None if i % 4 == 3 else float(i % 2) for i in range(COUNT)]
    dataset = written(tmp_path, schema(layout), {"train": lambda row: half_null, "val": 0, "test": None})
    quarter = COUNT // 4
    assert label_counts(dataset, "train")["click"] == LabelCounts(3 * quarter, quarter, 0.0, 1.0)
    assert label_counts(dataset, "val")["click"] == LabelCounts(COUNT, 0, 0.0, 0.0)
    assert label_counts(dataset, "test")["click"].labelled == 0
    assert label_counts(dataset, "val")["other"] == LabelCounts(COUNT, COUNT // 2, 0.0, 1.0)


def by_request(row: Any) -> Any:
    """Both classes in the split, one in each request and so with each user."""
    return row // CANDIDATES % 2


@pytest.mark.parametrize(
    ("label", "monitor", "task", "says"),
    [
        (0, "val/click/auc", {}, "val has no positive of task click"),
        (1, "val/click/auc", {}, "val has no negative of task click"),
        (None, "val/click/auc", {}, "val has no label of task click"),
        (None, "val/click/logloss", {}, "val has no label of task click"),
        (0, "val/click/recall@10", {}, "val has no positive of task click"),
        (0, "val/click/ndcg@10", {"kind": "graded"}, "val has no positive of task click"),
        (by_request, "val/click/gauc", {}, "No request, user or band of items in val has what it needs"),
        (0, "val/click/logloss", {}, None),
        (by_request, "val/click/auc", {}, None),
        (1, "val/click/recall@10", {}, "val has no negative of task click"),  # whatever is first, all of it is found
        (lambda row: row % 2, "val/click/recall@10", {}, None),
    ],
)
@pytest.mark.slow
def test_a_monitored_metric_without_a_value_is_refused(
    tmp_path: Path, label: Any, monitor: str, task: dict[str, str], says: str | None
) -> None:
    dataset = written(tmp_path, schema(**task), {"val": label})
    cfg = config(dataset, f"callbacks.monitor={monitor}", "loss=graded" if task else "loss=hard")
    if says is None:
        check_labels(cfg, dataset)
        return
    with pytest.raises(DataError) as error:
        check_labels(cfg, dataset)
    assert f"{says}, so {monitor} is undefined" in error.value.problem
    assert str(label_counts(dataset, "val")["click"]) in str(error.value)


NO_BCE = "~loss.terms.hard"
MSE = [NO_BCE, "+loss_term@loss.terms.mse=hard_mse"]


@pytest.mark.parametrize(
    ("label", "task", "overrides", "says"),
    some_fast(
        [
            (0, {}, [], "train has no positive of task click"),
            (1, {}, [], "train has no negative of task click"),
            (None, {}, [], "train has no label of task click"),
            (3.5, {"kind": "value"}, MSE, "train has one value (3.5) of task click"),
            (2, {"kind": "graded"}, MSE, "train has one grade (2) of task click"),
            (lambda row: row % 3, {"kind": "value"}, MSE, None),
            (0, {}, ["loss.terms.hard.tasks=[other]"], None),
            (0, {"weight": 0.0}, [], None),
            (1, {}, ["sampling=random_negatives"], None),
            (0, {}, ["sampling=random_negatives"], "train has no positive of task click"),
            (0, {}, ["teacher=trained", "sampling=pseudo_labels", "teacher.loss.terms.hard.tasks=[other]"], None),
            (0, {}, ["teacher=trained", "sampling=pseudo_labels"], "train has no positive of task click"),
            (1, {}, ["teacher=trained", "sampling=random_negatives"], "train has no negative of task click"),
            (0, {}, ["teacher=trained", "loss.terms.hard.tasks=[other]"], "train has no positive of task click"),
            (1, {}, [NO_BCE, "+loss_term@loss.terms.mps=multi_positive_softmax"], None),
            (
                0,
                {},
                [NO_BCE, "+loss_term@loss.terms.mps=multi_positive_softmax"],
                "train has no positive of task click",
            ),
            (0, {}, [NO_BCE, "+loss_term@loss.terms.stages=stage_order"], None),
        ],
        3,
    ),
)
def test_labels_that_teach_nothing_are_refused(
    tmp_path: Path, label: Any, task: dict[str, Any], overrides: list[str], says: str | None
) -> None:
    dataset = written(tmp_path, schema(**task), {"train": label})
    cfg = config(dataset, "callbacks.monitor=val/other/auc", *overrides)
    if says is None:
        check_labels(cfg, dataset)
        return
    with pytest.raises(DataError) as error:
        check_labels(cfg, dataset)
    assert says in error.value.problem
    assert str(label_counts(dataset, "train")["click"]) in str(error.value)
    assert "loss.terms." in str(error.value)


def test_a_test_split_without_positives_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = written(tmp_path, schema(), {"test": 0})
    with caplog.at_level(logging.WARNING):
        check_labels(config(dataset, "callbacks.monitor=val/click/auc"), dataset)
    (message,) = caplog.messages
    assert "test has no positive of task click (288 labelled candidates, 0 positive and 288 negative)" in message


@pytest.mark.parametrize("metrics", slow_except(["default", "funnel", "movielens"], "default"))
@pytest.mark.parametrize(
    "teacher", slow_except([["teacher=none"], ["teacher=checkpoint", "teacher.path=x"]], ["teacher=none"])
)
def test_what_is_measured_is_known_without_data(tmp_path: Path, metrics: str, teacher: list[str]) -> None:
    """The names found on made-up rows are those that the real rows give."""
    dataset = written(tmp_path, schema(), {})
    cfg = config(dataset, f"metrics={metrics}", *teacher, "callbacks.monitor=val/nothing")
    with pytest.raises(ConfigError) as error:
        check_measured(cfg, dataset.schema)
    names = str(error.value.expected).split(", ")
    assert "val/click/auc" in names
    assert any(name.startswith("val/teacher_recall@") for name in names) == (teacher != ["teacher=none"])
    for name in names:
        cfg.callbacks.monitor = name
        assert value_on_validation(cfg, dataset) is not None, name


@pytest.mark.slow
def test_a_run_on_such_labels_trains_nothing_and_leaves_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = written(tmp_path / "log", schema(), {"val": 0})
    own = [a for a in tiny_arguments(tmp_path) if not a.startswith(("data=", "paths."))]
    with pytest.raises(SystemExit) as ending:
        train("data=prepared", f"data.root={dataset.root}", *own, *path_arguments(tmp_path), "teacher=trained",
              "loss=pointwise", "name=refused")  # fmt: skip
    assert ending.value.code == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "val has no positive of task click, so val/click/auc is undefined" in message
    assert "288 labelled candidates, 0 positive and 288 negative" in message
    assert not (tmp_path / "cache").exists()
    assert not list((tmp_path / "runs").rglob("manifest.json"))  # so that resume=last does not take it for a run


@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_terms_that_compare_candidates_of_flat_rows_are_told(
    tmp_path: Path, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = written(tmp_path, schema(layout=layout), {})
    check_labels(config(dataset, "loss=hard", "+loss_term@loss.terms.list=ranknet"), dataset)
    told = [record.getMessage() for record in caplog.records if "compare candidates" in record.getMessage()]
    assert len(told) == (layout == "flat")
    assert all("loss.terms.list compare" in text for text in told)
    caplog.clear()
    added = config(dataset, "loss=hard", "+loss_term@loss.terms.list=ranknet", "sampling=random_negatives")
    check_labels(added, dataset)  # which give each request others to compare with
    assert not [record for record in caplog.records if "compare candidates" in record.getMessage()]
