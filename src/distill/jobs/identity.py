"""What makes a run the run that it is: the keys of its config that count, their hash, and what differs between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill.files import hash_once
from distill.jobs.checkpoints import checkpoint_of
from distill.jobs.content_key import content_key
from distill.jobs.machine import AUTO, processes
from distill.jobs.node import plain
from distill.places.mirror import named_data
from distill.signals.provenance import PROVENANCE_FILE

ABSENT = "(not there)"
"""Stands for the value of a key that a config does not have."""

ASIDE = (
    "paths",
    "name",
    "resume",
    "threads",
    "trusted",
    "logger",
    "cost",
    "export",
    "study",
    "metrics.report",
    "callbacks.progress_bar",
    "callbacks.checkpoint_every_n_steps",
    "trainer.log_every_n_steps",
    "trainer.profiler",
    "data.loader.prefetch",
    "data.loader.workers",
    "data.loader.resident",
)
"""What changes nothing of what a run learns: where it writes, what it shows and logs, how fast it is."""

_PATHS = ("source", "schema", "items")
PLACE = ("data.root", *(f"data.{name}" for name in _PATHS), *(f"data.adapter.{name}" for name in _PATHS))
"""Where the data is. A run may go on with the same dataset from elsewhere, and with no other."""

MACHINE = (
    "trainer.accelerator",
    "trainer.capture",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "embedding.sharding",
)
"""What computes. A run may go on elsewhere if its batches stay the same: `data.loader.num_shards`."""

LENGTH = ("trainer.max_epochs", "trainer.max_steps")
"""How long a run trains. It may become longer if nothing that was done so far depends on it."""

SHARDS = "data.loader.num_shards"

FOLD = "data.adapter.split.fold"
"""Which fold of a cross-validation is test (`split=k_fold`)."""


def former_metric(main_task: str) -> dict[str, str]:
    """What the keys of `callbacks` that say what training goes by were by default before they were `auto`."""
    return {"monitor": f"val/{main_task}/auc", "mode": "max"}


def config_hash(composed: DictConfig) -> str:
    """Hashes the config of a run without seed, fold, and what changes nothing of what it learns (24 hex digits).

    Runs from before `callbacks.monitor` was `auto` are of one configuration with those of today.

    Args:
        composed: With its interpolations, so that what follows from the seed is found anew for another.
    """
    content = named_data(plain(OmegaConf.merge(composed, {"seed": 0})))
    if "callbacks" in content:
        former = former_metric(content["data"]["main_task"])
        content["callbacks"] |= {key: then for key, then in former.items() if content["callbacks"].get(key) == AUTO}
    return content_key(_without(content, (*ASIDE, "seed", FOLD)))


def fitting(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the part of a config, given as plain data, from which it follows how a model is fitted to a dataset."""
    return _without(config, (*ASIDE, *PLACE, *MACHINE, SHARDS))


def shards(loader: Mapping[str, Any], started: int) -> int:
    """Returns how many parts an epoch is divided into: a batch of each is a step.

    Args:
        loader: `data.loader` of a config.
        started: Processes of the run.
    """
    wanted = loader.get("num_shards")
    return started if wanted is None else int(wanted)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compares two configs, given as plain data, in all that makes a run what it is.

    Returns:
        Key to its two values, in the order of the keys.
    """
    first, second = (dict(_leaves(fitting(config))) for config in (then, now))
    pairs = {key: (first.get(key, ABSENT), second.get(key, ABSENT)) for key in sorted({*first, *second})}
    return {key: (a, b) for key, (a, b) in pairs.items() if repr(a) != repr(b)}


def shard_counts(then: Mapping[str, Any], started: int, now: DictConfig) -> tuple[int, int]:
    """Returns into how many parts an epoch was divided by the processes that were `started` then, and would be now."""
    before = dict(_leaves(then)).get(SHARDS)
    return shards({"num_shards": before}, started), shards(now.data.loader, processes(now))


def teacher_files(teacher: DictConfig) -> dict[str, str]:
    """Hashes the teachers that a run is given as files: key of the config to the hash of what it names."""
    named = {"teacher.path": teacher.get("path")}
    named |= {f"teacher.members[{i}]": member for i, member in enumerate(teacher.get("members") or ())}
    paths = {key: checkpoint_of(Path(str(path))) for key, path in named.items() if path is not None}
    files = {key: path / PROVENANCE_FILE if path.is_dir() else path for key, path in paths.items()}
    return {key: hash_once(file) if file.is_file() else ABSENT for key, file in files.items()}


def given_files(cfg: DictConfig) -> dict[str, str]:
    """Hashes what a run is given as files and goes on reading, teachers and vectors of frozen rows: key of the config
    to the hash of what it names."""
    models = {"model": cfg.model, "teacher.model": cfg.teacher.get("model")}
    vectors = {
        f"{key}.vectors.{table}": Path(str(file["path"])).expanduser()
        for key, model in models.items()
        if model is not None
        for table, file in model.get("vectors", {}).items()
        if isinstance(file, Mapping | DictConfig) and file.get("frozen")
    }
    found = {key: hash_once(file) if file.is_file() else ABSENT for key, file in vectors.items()}
    return {**teacher_files(cfg.teacher), **found}


def _without(config: Mapping[str, Any], keys: tuple[str, ...], prefix: str = "") -> dict[str, Any]:
    kept = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if key not in keys:
            kept[str(name)] = _without(value, keys, f"{key}.") if isinstance(value, Mapping) else value
    return kept


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value
