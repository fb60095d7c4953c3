"""What a run leaves for those who compare runs: curves in the loggers that were chosen, and parameters that differ."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hydra import compose
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from distill.errors import ConfigError
from distill.jobs.values import check_values
from distill.reports.summary import load_summary
from tests.jobs.entry import run_dirs, tiny_arguments, train
from tests.models.composing import composing


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with tables beside TensorBoard."""
    root = tmp_path_factory.mktemp("run")
    tiny = [argument for argument in tiny_arguments(root) if not argument.startswith("teacher.")]
    tracked = "+logger.extra.tracked._target_=tests.jobs.tracker.FileTracker"
    train(*tiny, "name=run", "loss=hard", "logger=csv", tracked, "+debug=quick", "optimizer.lr=0.01")
    return next(iter(run_dirs(root, "run")))


def test_tables_hold_the_curves(run: Path) -> None:
    with (run / "csv" / "student" / "version_0" / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {"train/loss", "val/click/auc", "train/data_wait"} <= rows[0].keys()
    assert [int(row["step"]) for row in rows if row["train/loss"]] == [1]
    assert any(row["val/click/auc"] for row in rows)


def test_a_tracker_has_test_metrics_beside_the_curves_of_their_fit(run: Path) -> None:
    (file,) = (run / "tracked").iterdir()  # a fit was one, and what it reached on test is no other
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert file.name == "student.jsonl"
    assert any("train/loss" in line for line in lines)
    summary = load_summary(run)
    assert lines[-1]["test/click/auc"] == pytest.approx(summary.metrics["model"]["click/auc"])


def test_hparams_are_what_was_asked_for(run: Path) -> None:
    """A group that was chosen, a value, the seed: not the constants of the config, nor where files are."""
    events = EventAccumulator(str(run / "tensorboard" / "test" / "model"))
    events.Reload()
    found = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    shown = HParamsPluginData.FromString(found).session_start_info.hparams
    assert shown["loss"].string_value == "hard"
    assert shown["optimizer.lr"].number_value == pytest.approx(0.01)
    assert shown["data"].string_value == "funnel_tiny"
    assert {"role", "seed", "debug"} <= shown.keys()
    assert not any(name.startswith(("paths", "logger", "name", "cost")) for name in shown)
    assert len(shown) < 12


def test_a_logger_is_held_against_its_constructor() -> None:
    with composing():
        cfg = compose("config", ["logger=wandb", "+logger.extra.wandb.projekt=a"])
    with pytest.raises(ConfigError) as error:
        check_values(cfg)
    assert error.value.where == "logger.extra.wandb.projekt"
