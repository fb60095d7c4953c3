"""Loggers of trackers: told which fit they log, imported when chosen, and clear when they are not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from distill.errors import ConfigError
from distill.training.loggers import FitMLflow, FitWandb


def test_a_tracker_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("wandb", "mlflow"):
        monkeypatch.setattr(f"pytorch_lightning.loggers.{module}._{module.upper()}_AVAILABLE", "")
    with pytest.raises(ConfigError, match=r"distill-ranker\[wandb\]"):
        FitWandb(tmp_path, "run", "student", "distill")
    with pytest.raises(ConfigError, match=r"distill-ranker\[mlflow\]"):
        FitMLflow("run", "student", "distill", "sqlite:///nowhere.db")
    assert "wandb" not in sys.modules


def test_mlflow_goes_on_with_the_run_of_a_fit(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'runs.db'}"

    def logged(role: str, **metrics: float) -> str:
        logger = FitMLflow("run/it's", role, "distill", uri)
        logger.log_hyperparams({"seed": len(metrics)})
        logger.log_metrics(metrics | {"val/recall@10": 0.5}, step=3)
        logger.finalize("success")
        assert logger.run_id is not None
        return logger.run_id

    first = logged("student", a=1.0)
    assert logged("student", a=1.0, b=2.0) == first
    assert logged("teacher") != first
    run = FitMLflow("run/it's", "student", "distill", uri).experiment.get_run(first)
    assert run.data.params == {"seed": "1"}
    assert run.data.metrics == {"a": 1.0, "b": 2.0, "val/recall_at_10": 0.5}


def test_each_fit_has_a_run_of_weights_and_biases(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    ids = []
    for role in ("teacher", "student", "student"):
        logger = FitWandb(tmp_path, "run", role, "distill", offline=True)
        logger.log_metrics({"val/recall@10": 0.5}, step=3)
        ids.append(logger.experiment.id)
        logger.finalize("success")
    assert ids[0] != ids[1] == ids[2]
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) >= 2
