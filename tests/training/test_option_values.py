"""Values that an option cannot have are refused where they are given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.data import FlatBenchmark
from distill.data.build import build_dataset
from distill.data.datamodule import Loading, RankingDataModule
from distill.errors import ConfigError
from distill.losses.terms.hard_bce import HardBCE
from distill.training.lr_schedule import LRSchedule
from distill.training.optim import OptimizerFactory

OPTIMIZER: dict[str, Any] = {
    "lr": 0.1,
    "weight_decay": 0.0,
    "betas": (0.9, 0.99),
    "embedding": "rowwise_adagrad",
    "embedding_lr": 0.1,
    "clip_norm": 0.0,
}


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.0},
        {"lr": math.inf},
        {"lr": True},
        {"embedding_lr": math.nan},
        {"weight_decay": -1.0},
        {"clip_norm": math.nan},
        {"clip_norm": "10"},
        {"betas": 0.9},
        {"betas": (0.9, 1.0)},
        {"betas": (0.9,)},
        {"embedding": "adam"},
    ],
)
def test_optimizer(change: dict[str, Any]) -> None:
    OptimizerFactory(**OPTIMIZER)
    with pytest.raises(ConfigError, match=f"optimizer.{next(iter(change))}"):
        OptimizerFactory(**{**OPTIMIZER, **change})


@pytest.mark.parametrize("change", [{"warmup_steps": -1}, {"warmup_steps": 0.5}, {"final": math.nan}, {"final": "x"}])
def test_schedule(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"scheduler.{next(iter(change))}"):
        LRSchedule(**{"shape": "linear", "warmup_steps": 0, "final": 0.0, **change})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared dataset."""
    return build_dataset(FlatBenchmark(200, 3000), tmp_path_factory.mktemp("data"), progress=False).root


@pytest.mark.parametrize("change", [{"eval_batch_candidates": 0}, {"eval_batch_candidates": []}, {"prefetch": "no"}])
def test_loader(change: dict[str, Any], prepared: Path) -> None:
    with pytest.raises(ConfigError, match="expected"):
        _first_batch(prepared, {"batch_candidates": 8, **change})


def _first_batch(root: Path, options: dict[str, Any]) -> None:
    RankingDataModule(root, Loading(**options)).val_dataloader()


@pytest.mark.parametrize("change", [{"rows": 3}, {"rows": [None]}, {"rows": []}, {"tasks": "click"}, {"tasks": [1]}])
def test_loss_term(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        HardBCE(**{"weight": 1.0, "rows": "all", "tasks": None, **change})
