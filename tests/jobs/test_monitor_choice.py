"""What a training goes by where the config says `auto`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from distill.data.prepare import prepare
from distill.data.raw import RawDataset
from distill.data.split import ColumnSplit
from distill.errors import ConfigError
from distill.jobs.datasets import raw_schema
from distill.jobs.identity import fitting
from distill.jobs.manifest import RunRecord
from distill.jobs.monitor_choice import with_monitor
from distill.jobs.monitored import monitored
from distill.jobs.node import plain
from distill.jobs.study.settings import check_study, resolved_study
from distill.reports.evidence import load_evidence
from distill.reports.summary import load_summary
from distill.schema import Schema, parse_schema
from tests.jobs.entry import path_arguments, run_dirs, tiny_arguments, train
from tests.models.composing import composing


def schema(kind: str) -> Schema:
    return parse_schema(
        {
            "name": "log",
            "layout": "requests",
            "keys": {"request": "request", "item": "item"},
            "fields": [
                {"name": "device", "side": "request", "kind": "id"},
                {"name": "item", "side": "candidate", "kind": "id"},
            ],
            "tasks": [{"name": "other"}, {"name": "click", "kind": kind}],
            "score": {"tasks": {"click": 1.0}},
        },
        "the test",
    )


def config(*overrides: str) -> DictConfig:
    with composing():
        return compose("config", ["data=prepared", "data.root=/nowhere", *overrides])


def chosen(kind: str, *overrides: str) -> dict[str, str]:
    cfg = config(*overrides)
    settled, found = with_monitor(cfg, schema(kind), None, cfg)
    assert (settled.callbacks.monitor, settled.callbacks.mode) == (
        found.get("callbacks.monitor", cfg.callbacks.monitor),
        found.get("callbacks.mode", cfg.callbacks.mode),
    )
    return found


@pytest.mark.parametrize(
    ("kind", "metrics", "monitor", "mode"),
    [
        ("binary", "default", "val/click/auc", "max"),
        ("binary", "graded", "val/click/ndcg@10", "max"),
        ("graded", "default", "val/click/ndcg@10", "max"),
        ("graded", "graded", "val/click/ndcg@10", "max"),
        ("graded", "letor", "val/click/ndcg@10", "max"),
        ("value", "value", "val/click/rmse", "min"),
    ],
)
def test_the_metric_follows_from_the_labels_and_from_what_is_measured(
    kind: str, metrics: str, monitor: str, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        found = chosen(kind, f"metrics={metrics}")
    assert found == {"callbacks.monitor": monitor, "callbacks.mode": mode}
    (said,) = caplog.messages
    assert said.startswith(f"auto: callbacks.monitor={monitor}, callbacks.mode={mode}, as labels of click are ")


def test_the_largest_cut_off_is_taken() -> None:
    assert chosen("graded", "metrics=graded", "metrics.metrics.ndcg.ks=[20,5]")["callbacks.monitor"].endswith("@20")


def test_the_metric_says_which_way_is_better(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert chosen("binary", "callbacks.monitor=val/other/logloss") == {"callbacks.mode": "min"}
    assert caplog.messages == ["auto: callbacks.mode=min, as less of val/other/logloss is better."]
    assert chosen("binary", "callbacks.monitor=val/click/pcoc", "callbacks.mode=min") == {}


def test_what_refers_to_the_metric_follows() -> None:
    mine = {"monitor": "${callbacks.monitor}", "mode": "${callbacks.mode}", "other": "auto"}
    found = chosen("value", "metrics=value", *(f"+callbacks.extra.mine.{name}={text}" for name, text in mine.items()))
    assert {key.removeprefix("callbacks."): value for key, value in found.items()} == {
        "monitor": "val/click/rmse",
        "mode": "min",
        "extra.mine.monitor": "val/click/rmse",
        "extra.mine.mode": "min",
    }


def test_caches_know_the_former_default_by_the_same_key() -> None:
    """What is hashed of a config for a cached teacher or control does not tell a chosen metric from a named one."""
    settled, _ = with_monitor(config(), schema("binary"))
    named = config("callbacks.monitor=val/click/auc", "callbacks.mode=max")
    assert fitting(plain(settled)) == fitting(plain(named))
    assert monitored(settled, schema("binary")) == monitored(named, schema("binary"))


@pytest.mark.parametrize(
    ("kind", "overrides", "where", "says"),
    [
        ("value", [], "callbacks.monitor", "metrics=value"),
        ("graded", ["~metrics.metrics.ndcg"], "callbacks.monitor", "whose labels are grades"),
        ("binary", ["data.main_task=buy"], "data.main_task", "other, click"),
        ("binary", ["callbacks.mode=min"], "callbacks.mode", "val/click/auc"),
        ("binary", ["callbacks.monitor=val/click/pcoc"], "callbacks.mode", "max or min"),
        ("binary", ["callbacks.monitor=val/click/acu"], "callbacks.monitor", "is not measured"),
    ],
)
def test_what_cannot_be_chosen_is_said(kind: str, overrides: list[str], where: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        chosen(kind, *overrides)
    assert error.value.where == where
    assert says in str(error.value)


def test_a_run_that_goes_on_goes_by_what_it_went_by() -> None:
    cfg, then = config(), {"callbacks": {"monitor": "val/other/logloss", "mode": "min"}}
    settled, found = with_monitor(cfg, schema("graded"), RunRecord(then, {}), cfg)
    assert (settled.callbacks.monitor, settled.callbacks.mode) == ("val/other/logloss", "min")
    assert found == {"callbacks.monitor": "val/other/logloss", "callbacks.mode": "min"}


@pytest.mark.parametrize(
    ("overrides", "objective", "mode"),
    [
        ([], "val/click/auc", "max"),
        (["study.objective=val/click/logloss"], "val/click/logloss", "min"),
        (["callbacks.monitor=val/like/logloss"], "val/like/logloss", "min"),
        (["study.objective=val/click/pcoc", "study.mode=max"], "val/click/pcoc", "max"),
    ],
)
def test_a_study_chooses_by_it(overrides: list[str], objective: str, mode: str, tmp_path: Path) -> None:
    with composing():
        own = ["+sweep=optuna", "data=funnel_tiny", f"hydra.sweep.dir={tmp_path}", *overrides]
        sweep = compose("config", own, return_hydra_config=True)
        job = compose("config", [o for o in own if not o.startswith("hydra")])
    node = resolved_study(sweep)
    assert (node.objective, node.mode) == (objective, mode)
    if objective != "val/click/pcoc":
        check_study(sweep)
    OmegaConf.resolve(job)
    of_job, _ = with_monitor(job, funnel(job))
    assert (of_job.study.objective, of_job.study.mode) == (objective, mode)


def funnel(cfg: DictConfig) -> Schema:
    found = raw_schema(cfg)
    assert found is not None
    return found


def written(folder: Path, kind: str) -> Path:
    """A prepared log of 60 requests of 8 candidates, whose label follows from item and device."""
    folder.mkdir(parents=True)
    row = np.arange(480)
    device, item = row // 8 % 3, row * 7 % 11
    label = {"graded": (item + device) % 4, "value": item * 2.5 - device}[kind]
    table = {
        "request": row // 8,
        "device": device,
        "item": item,
        "click": label.astype(float),
        "other": row % 2,
        "split": np.array(["train", "train", "val", "test"])[row // 8 % 4],
    }
    pq.write_table(pa.table(table), folder / "log.parquet")
    raw = RawDataset((folder / "log.parquet",), schema(kind), ColumnSplit("split"))
    return prepare(raw, folder / "data", progress=False).root


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "metric", "mode"), [("graded", "ndcg@10", "max"), ("value", "rmse", "min")])
def test_a_run_on_grades_and_on_numbers_needs_no_metric(tmp_path: Path, kind: str, metric: str, mode: str) -> None:
    root = written(tmp_path / "log", kind)
    quiet = [a for a in tiny_arguments(tmp_path) if a.startswith(("trainer=", "callbacks", "cost"))]
    own = ["data=prepared", f"data.root={root}", *quiet, *path_arguments(tmp_path), "logger=none", "model=dnn"]
    own += [f"metrics={kind}", "loss=graded", "loss.terms.hard.tasks=[click]", "scheduler=cosine", f"name={kind}"]
    own += ["trainer.max_epochs=6", "callbacks.patience=1", "data.loader.batch_candidates=64", "optimizer.lr=0.05"]
    own += ["+metrics.metrics.ndcg.tasks=[click]"] if kind == "graded" else []
    train(*own)
    (folder,) = run_dirs(tmp_path, kind)
    callbacks = yaml.safe_load((folder / "config.yaml").read_text())["callbacks"]
    assert (callbacks["monitor"], callbacks["mode"]) == (f"val/click/{metric}", mode)
    summary = load_summary(folder)
    found = load_evidence(folder)
    assert found is not None
    values = [value for value in found.learning["model"].value if value is not None]
    best = min(values) if mode == "min" else max(values)
    assert len(set(values)) > 1
    assert summary.validation["model"][f"val/click/{metric}"] == pytest.approx(best)
    assert summary.metrics["model"][f"click/{metric}"] > 0
