"""Measures any checkpoints on any data: another split, a new day, many days one by one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from distill.console import plain_console
from distill.data.format import Dataset
from distill.data.found import each_match
from distill.data.known_items import known_items
from distill.data.popularity import item_exposures
from distill.errors import ConfigError
from distill.jobs.checkpoints import checkpoint_of
from distill.jobs.machine import device, job_ranks
from distill.jobs.node import build, plain
from distill.jobs.of_model import dataset_of_model
from distill.jobs.parts import LoadedModel, load_model
from distill.jobs.scored import (
    COLUMN,
    check_same_rows,
    data_name,
    models_of,
    scored_rows,
    split_of,
    with_teacher,
)
from distill.jobs.stored_items import with_item_type
from distill.metrics import MetricSuite, ScoredRows, give_exposures, give_known_items
from distill.metrics.room import moved
from distill.ops.ranks import rank
from distill.reports.evaluation import TEACHER, Evaluation, print_days, print_evaluation, save_evaluations
from distill.reports.roles import Teacher, counted, measure_teacher, num_requests, paired_differences

_log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> list[Evaluation]:
    """Scores the data with every model of `path`, and measures and compares them; with `each`, source by source."""
    with job_ranks(cfg, Path(HydraConfig.get().runtime.output_dir)) as (agreed, folder):
        models = models_of(agreed)
        teacher = None if agreed.teacher_path in (None, COLUMN) else checkpoint_of(Path(agreed.teacher_path))
        loaded = {name: load_model(path) for name, path in models.items()}
        stored = [(name, kind, f"{name} ({kind})") for name in models for kind in plain(agreed.item_types)]
        loaded |= {new: with_item_type(loaded[name], name, kind) for name, kind, new in stored}
        models = {**models, **{new: models[name] for name, _, new in stored}}
        judge = None if teacher is None else load_model(teacher)
        found = []
        for one in _sources(agreed):
            evaluation = _evaluate(one, models, loaded, None if teacher is None or judge is None else (teacher, judge))
            found.append(evaluation)
            if rank() == 0:
                print_evaluation(evaluation, plain_console())
        if rank() == 0:
            metric = _shown(str(agreed.metric), found)
            save_evaluations(found, folder, metric)
            if len(found) > 1:
                print_days(found, metric, plain_console())
            _log.info("Evaluation: %s", folder)
    return found


def _sources(cfg: DictConfig) -> Iterator[DictConfig]:
    """Yields the config once, or with `each` for every match of `data.source`, in the order of their names."""
    if not cfg.each:
        yield cfg
        return
    if cfg.data.get("source") is None:
        raise ConfigError("There are no raw files to go through one by one.", where="each", expected="data.source")
    given = plain(cfg.data.source)
    if isinstance(given, Mapping):
        raise ConfigError("The files of splits are not days.", where="data.source", expected="a pattern, or a list")
    for match in each_match([given] if isinstance(given, str) else given):
        one = cfg.copy()
        OmegaConf.update(one, "data.source", match)
        if "source" in one.data.adapter:
            OmegaConf.update(one, "data.adapter.source", match)
        yield one


def _evaluate(
    cfg: DictConfig,
    models: Mapping[str, Path],
    loaded: Mapping[str, LoadedModel],
    teacher: tuple[Path, LoadedModel] | None,
) -> Evaluation:
    tables: dict[str, ScoredRows] = {}
    dataset = None
    for name, path in models.items():
        dataset = dataset_of_model(cfg, loaded[name], path)
        tables[name] = scored_rows(cfg, dataset, loaded[name])
        check_same_rows(tables, name)
    assert dataset is not None
    if teacher is not None:
        path, judge = teacher
        own = scored_rows(cfg, dataset_of_model(cfg, judge, path), judge)
        tables = {name: with_teacher(table, own) for name, table in tables.items()}
    return _measured(cfg, dataset, models, loaded, tables)


def _measured(
    cfg: DictConfig,
    dataset: Dataset,
    models: Mapping[str, Path],
    loaded: Mapping[str, LoadedModel],
    tables: Mapping[str, ScoredRows],
) -> Evaluation:
    suite: MetricSuite = build(cfg.metrics, "metrics", MetricSuite)
    if dataset.manifest.splits.get("train"):
        give_exposures(suite.metrics, item_exposures(dataset))
    give_known_items(suite.metrics, _known_items(models, loaded))
    tasks = dataset.schema.task_names
    where = device(cfg)
    measured = {name: suite.measure(moved(table, where, suite.device), tasks) for name, table in tables.items()}
    first, *others = models
    declared = dataset.schema.teacher if cfg.teacher_path == COLUMN else None
    known = None if declared is None else dataset.schema.logged_tasks
    judge = Teacher(known, probabilities=declared is None or declared.kind != "position")
    own = measure_teacher(suite, tables[first], tasks, judge, where)
    if own is not None:
        measured = {TEACHER: own, **measured}
    names = dict.fromkeys(metric for values, _ in measured.values() for metric in values)
    contents = dataset.manifest.contents
    fields = {} if contents is None else contents.splits[split_of(cfg)].fields
    return Evaluation(
        data=data_name(cfg),
        split="all" if cfg.data.get("root") is None else str(cfg.data_split),
        requests=num_requests(tables[first]),
        candidates=tables[first].num_rows,
        models={name: str(path) for name, path in models.items()},
        metrics={name: values for name, (values, _) in measured.items()},
        better={name: suite.goal(name).plain for name in names},
        counted={name: counted(sampled) for name, (_, sampled) in measured.items()},
        differences={other: paired_differences(measured[first][1], measured[other][1]) for other in others},
        unknown={name: found.unknown / found.values for name, found in fields.items() if found.unknown},
    )


def _known_items(models: Mapping[str, Path], loaded: Mapping[str, LoadedModel]) -> Tensor | None:
    """Returns the items that the first model knows: which are new must not depend on the model that is measured."""
    name, path = next(iter(models.items()))
    if loaded[name].encodings is None:
        return None
    return known_items(loaded[name].schema, loaded[name].fitted(path))


def _shown(metric: str, found: list[Evaluation]) -> str:
    """Returns the metric that tables and pictures over days show.

    Raises:
        ConfigError: No model has it.
    """
    names = dict.fromkeys(name for one in found for values in one.metrics.values() for name in values)
    if metric not in names:
        raise ConfigError("There is no such metric.", where="metric", expected=", ".join(names), found=metric)
    return metric
