"""Whether a command may go on with a run: the two are compared before a byte is written."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from distill.data.format import Dataset
from distill.errors import ConfigError, DataError
from distill.jobs.app import LAST
from distill.jobs.continued import in_sweep
from distill.jobs.identity import LENGTH, SHARDS, differences, former_metric, given_files, shard_counts
from distill.jobs.machine import AUTO, settled
from distill.jobs.manifest import MANIFEST_FILE, RunRecord, read_record
from distill.jobs.node import build, plain
from distill.jobs.parts import build_loss
from distill.jobs.uris import on_this_machine
from distill.jobs.values import check_present
from distill.losses.composite import CompositeLoss
from distill.places.mirror import named
from distill.schema.plain_yaml import read_yaml
from distill.training.lr_schedule import LRSchedule

_NEW = "start a new run without resume"


def check_resumed(folder: Path, cfg: DictConfig) -> RunRecord | None:
    """Refuses to go on with a run under a config that would have made another one.

    Args:
        folder: Of the run.
        cfg: Of the command that is to go on with it.

    Returns:
        What the run was; None for a job of a sweep that had not begun.

    Raises:
        ConfigError: There is no run, or the config differs in more than may differ.
        DataError: The folder does not contain the record of its run.
    """
    if not (folder / MANIFEST_FILE).exists():
        if cfg.resume == LAST and in_sweep():
            return None
        raise ConfigError(
            "There is no run to resume.",
            where=str(folder.parent if cfg.resume == LAST else folder),
            expected=f"a run folder with {MANIFEST_FILE}",
            remedy="Start the run without resume, or give resume=RUN_FOLDER.",
        )
    record = read_record(folder)
    now: Mapping[str, Any] = read_yaml(named(OmegaConf.to_yaml(settled(cfg), resolve=True)))
    found = differences(record.config, now)
    found = {key: pair for key, pair in found.items() if not (pair[1] == AUTO and _as_then(key, pair[0], record))}
    length = {key: found.pop(key) for key in LENGTH if key in found}
    before, here = shard_counts(record.config, record.processes, cfg)
    if before != here:
        found[SHARDS] = (before, here)
    found |= _other_teachers(record.teachers, given_files(cfg))
    if found:
        raise _another({**found, **length}, folder, f"Give the values of then, or {_NEW}.")
    if length:
        _check_longer(length, folder, cfg)
    return record


def _as_then(key: str, value: Any, record: RunRecord) -> bool:
    """Whether the value of then is what `auto` stood for, or what stood in its place by default before."""
    if key in record.chosen:
        return True
    return key.startswith("callbacks.") and value in former_metric(record.text("data.main_task")).values()


def check_same_dataset(record: RunRecord, dataset: Dataset) -> None:
    """Refuses to go on with a run on other data.

    Raises:
        DataError: The dataset is another one.
    """
    if record.dataset != dataset.fingerprint:
        raise DataError(
            "The run used another dataset, so it cannot be resumed with this one.",
            where=str(dataset.root),
            expected=f"fingerprint {record.dataset}, then in {record.manifest['dataset'].get('root')}",
            found=f"fingerprint {dataset.fingerprint}",
            remedy=f"Give the data of then, or {_NEW}.",
        )


def check_command(config: DictConfig) -> None:
    """Refuses a command that may not go on with the run that it names; see `check_resumed`.

    Args:
        config: With Hydra's own node, before Hydra has made the folder of the run.
    """
    folder = Path(config.hydra.run.dir).absolute()
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = str(folder)  # as Hydra does a moment later
    own = copy.deepcopy(config)
    with read_write(own), open_dict(own):
        del own["hydra"]
    check_present(own)
    own = on_this_machine(own)
    hydra = HydraConfig.instance()
    before = hydra.cfg
    hydra.set_config(config)  # for values that ask Hydra
    try:
        check_resumed(folder, own)
    finally:
        hydra.cfg = before


def _another(found: Mapping[str, tuple[Any, Any]], folder: Path, remedy: str) -> ConfigError:
    return ConfigError(
        "The command differs from that of the run that it should resume; nothing was changed.",
        where=", ".join(found),
        expected=f"as then, in {folder}: " + ", ".join(f"{key}={_text(then)}" for key, (then, _) in found.items()),
        found="now: " + ", ".join(f"{key}={_text(now)}" for key, (_, now) in found.items()),
        remedy=remedy,
    )


def _other_teachers(then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[Any, Any]]:
    """Names the teachers that are in the same place and have another content."""
    return {
        key: (f"a file with hash {then[key]}", f"one with hash {now[key]}")
        for key in now
        if key in then and then[key] != now[key]
    }


def _text(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_longer(length: Mapping[str, tuple[Any, Any]], folder: Path, cfg: DictConfig) -> None:
    """Refuses a shorter training, and a longer one if what was done so far would have been done in another way."""
    if any(_limit(now) < _limit(then) for then, now in length.values()):
        raise _another(length, folder, f"A run can become longer, not shorter. Give the values of then, or {_NEW}.")
    if followers := _follow_length(cfg):
        raise _another(
            length, folder, f"{', '.join(followers)} would have been another from the first step on; {_NEW}."
        )


def _limit(value: Any) -> float:
    """A number of epochs or steps; none is without end."""
    return math.inf if not isinstance(value, int) or value < 0 else value


def _follow_length(cfg: DictConfig) -> list[str]:
    """Names what depends on how long the training is."""
    schedule: LRSchedule = build(cfg.scheduler, "scheduler", LRSchedule)
    names = [] if schedule.shape == "constant" else [f"scheduler={schedule.shape}"]
    names += _planned(build_loss(plain(cfg.loss), "loss"), "loss")
    if cfg.teacher.source == "cotrained":
        names += _planned(build_loss(plain(cfg.teacher.loss), "teacher.loss"), "teacher.loss")
    return names


def _planned(loss: CompositeLoss, where: str) -> list[str]:
    """Names the schedules of a loss that are shares of the training."""
    return [
        f"{where}.{name}.{key}" if term is loss.adapter else f"{where}.terms.{name}.{key}"
        for name, term in loss.terms_and_adapter().items()
        for key, value in term.schedules.items()
        if value.schedule.planned(1_000_000) != value.schedule.planned(2_000_000)
    ]
