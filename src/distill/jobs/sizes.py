"""Sizes of a training that follow from the data: what `auto` stands for in a config."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, read_write

from distill.data.format import Dataset
from distill.jobs.identity import shards
from distill.jobs.machine import AUTO, processes
from distill.jobs.manifest import RunRecord
from distill.ops.ranks import rank
from distill.training.lr_schedule import RESTARTS

_log = logging.getLogger(__name__)
BATCH, EPOCHS = "data.loader.batch_candidates", "trainer.max_epochs"
_OF_TEACHER = "teacher.max_epochs"
PATIENCE = "callbacks.patience"
DENSE_ROWS = tuple(f"{of}optimizer.embedding_dense_rows" for of in ("", "teacher.", "control."))
_STEPS_OF_EPOCH, _STEPS = 200, 8000
_LEAST_BATCH, _MOST_BATCH = 256, 4096
_REQUESTS_OF_BATCH = 4
_CYCLES = (1, 3, 7, 15, 31)  # epochs at whose end the learning rate of `scheduler=restarts` has come down
_IN_CYCLES, _OTHERWISE = 2, 3
_STAND_INS = {BATCH: _MOST_BATCH, EPOCHS: _CYCLES[1], _OF_TEACHER: _CYCLES[1], PATIENCE: _OTHERWISE}
_STAND_INS |= dict.fromkeys(DENSE_ROWS, _MOST_BATCH)


def assumed(cfg: DictConfig) -> DictConfig:
    """Returns a config with numbers in place of `auto`, for what is checked before there are data."""
    return with_values(cfg, {key: number for key, number in _STAND_INS.items() if is_auto(cfg, key)})


def sized(cfg: DictConfig, dataset: Dataset, record: RunRecord | None) -> tuple[DictConfig, dict[str, int]]:
    """Returns a config with what `auto` stands for.

    A batch is a 200th of the training rows, so that an epoch has about as many steps, but 4 requests at least. The
    rows are read 1, 3, 7, 15 or 31 times, as often as 8,000 steps allow; early stopping leaves out what does not help.
    Patience is 2 validations where the learning rate goes in cycles, none of which is broken off, else 3. Tables learn
    by Adam on all of their rows if these are no more than the candidates of a step, which could touch them all.

    Args:
        cfg: Without interpolations.
        dataset: What is trained on.
        record: Of a run that goes on, whose numbers are taken as they were.

    Returns:
        The config, and the keys that are `auto`, or were when the run began, with their numbers.
    """
    wanted = [key for key in _STAND_INS if is_auto(cfg, key)]
    if record is not None:
        numbers = {key: record.number(key) for key in wanted}
        return with_values(cfg, numbers), {**record.chosen, **numbers}
    parts = dataset.manifest.splits.get("train", ())
    rows, requests = sum(part.candidates for part in parts), sum(part.rows for part in parts)
    divided = shards(cfg.data.loader, processes(cfg))
    batch = batch_of(rows, requests, divided) if BATCH in wanted else int(cfg.data.loader.batch_candidates)
    steps = max(1, math.ceil(rows / (batch * divided * int(cfg.trainer.accumulate_grad_batches))))
    patience = _IN_CYCLES if cfg.scheduler.shape == RESTARTS else _OTHERWISE
    sizes = {BATCH: batch, PATIENCE: patience, **dict.fromkeys(DENSE_ROWS, batch * divided)}
    found = with_values(cfg, {key: sizes.get(key, epochs_of(steps)) for key in wanted})
    numbers = _of(found, wanted)
    if numbers and rank() == 0:
        said = ", ".join(f"{key}={number}" for key, number in numbers.items())
        _log.info("auto: %s, as there are %s training rows (about %s steps an epoch).", said, f"{rows:,}", f"{steps:,}")
    return found, numbers


def batch_of(rows: int, requests: int, divided: int = 1) -> int:
    """Returns the candidates of a batch of one process: a power of two.

    Args:
        rows: Training candidates.
        requests: Training requests.
        divided: Parts that an epoch is divided into, a batch of each of which is a step.
    """
    least = max(_LEAST_BATCH, _REQUESTS_OF_BATCH * math.ceil(rows / max(1, requests)))
    wanted = max(1, rows // (_STEPS_OF_EPOCH * divided))
    return int(min(_MOST_BATCH, 2 ** math.ceil(math.log2(max(least, 2 ** int(math.log2(wanted)))))))


def epochs_of(steps: int) -> int:
    """Returns how often the training rows are read at most, of so many steps each time."""
    return max([_CYCLES[0], *(epochs for epochs in _CYCLES if epochs * steps <= _STEPS)])


def is_auto(cfg: DictConfig, key: str) -> bool:
    """Whether a config leaves a key open."""
    return bool(OmegaConf.select(cfg, key) == AUTO)


def with_values(cfg: DictConfig, values: Mapping[str, int | str]) -> DictConfig:
    """Returns a config with other values of some keys."""
    if not values:
        return cfg
    own = cfg.copy()
    with read_write(own):
        for key, value in values.items():
            OmegaConf.update(own, key, value)
    return own


def _of(cfg: DictConfig, keys: list[str]) -> dict[str, Any]:
    return {key: int(OmegaConf.select(cfg, key)) for key in keys}
