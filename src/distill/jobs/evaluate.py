"""Measures any checkpoints on any data: another split, a new day, many days one by one."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from distill.console import plain_console
from distill.data.format import Dataset, Split
from distill.data.known_items import known_items
from distill.data.popularity import item_exposures
from distill.data.stream import BatchLoader, SplitReader, StreamOrder, plan_epoch
from distill.data.transfer import BatchTransfer
from distill.errors import ConfigError, DataError
from distill.jobs.checkpoints import BEST, checkpoint_of
from distill.jobs.machine import device, job_ranks
from distill.jobs.node import build, plain
from distill.jobs.of_model import dataset_of_model
from distill.jobs.parts import LoadedModel, load_model
from distill.jobs.sizes import assumed
from distill.jobs.stored_items import with_item_type
from distill.jobs.teacher import logged_signals
from distill.metrics import MetricState, MetricSuite, ScoredRows, give_exposures, give_known_items, rows_of_batch
from distill.models.score import RankingScore, shifted
from distill.ops.ranks import rank, world_size
from distill.reports.evaluation import TEACHER, Evaluation, print_days, print_evaluation, save_evaluations
from distill.reports.roles import Teacher, counted, measure_teacher, num_requests, paired_differences

_COLUMN = "column"
_log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> list[Evaluation]:
    """Scores the data with every model of `path`, and measures and compares them; with `each`, source by source."""
    with job_ranks(cfg, Path(HydraConfig.get().runtime.output_dir)) as (agreed, folder):
        models = _models(agreed)
        teacher = None if agreed.teacher_path in (None, _COLUMN) else checkpoint_of(Path(agreed.teacher_path))
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


def _models(cfg: DictConfig) -> dict[str, Path]:
    """Returns the checkpoints that `path` names, by the names that they have in the table."""
    given = plain(cfg.path)
    if isinstance(given, Mapping):
        return {str(name): checkpoint_of(Path(str(path))) for name, path in given.items()}
    paths = [checkpoint_of(Path(str(path))) for path in (given if isinstance(given, list) else [given])]
    names = [_run_name(path, 1) for path in paths]
    if len(set(names)) < len(names):
        names = [_run_name(path, 2) for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return dict(zip(names, paths, strict=True))


def _run_name(path: Path, parts: int) -> str:
    """Names a checkpoint by its run (`runs/NAME/TIME/checkpoints/best.ckpt`), or by its own name elsewhere."""
    if path.parent.name != BEST.parent.name:
        return "/".join(path.with_suffix("").parts[-parts:])
    return "/".join(path.parts[-4 : -4 + parts])


def _sources(cfg: DictConfig) -> Iterator[DictConfig]:
    """Yields the config once, or with `each` for every match of `data.source`, in the order of their names."""
    if not cfg.each:
        yield cfg
        return
    if cfg.data.get("source") is None:
        raise ConfigError("There are no raw files to go through one by one.", where="each", expected="data.source")
    given = plain(cfg.data.source)
    if isinstance(given, Mapping):
        raise ConfigError("The files of splits are no days.", where="data.source", expected="a pattern, or a list")
    patterns = [str(Path(one).expanduser()) for one in ([given] if isinstance(given, str) else given)]
    found = [match for pattern in patterns for match in sorted(glob.glob(pattern))]  # noqa: PTH207, as sources are read
    if not found:
        raise DataError("Nothing matches.", where="data.source", found=str(cfg.data.source))
    matches = dict.fromkeys(found)
    for match in matches:
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
        tables[name] = _scored(cfg, dataset, loaded[name])
        _check_same_rows(tables, name)
    assert dataset is not None
    if teacher is not None:
        path, judge = teacher
        own = _scored(cfg, dataset_of_model(cfg, judge, path), judge)
        tables = {name: _with_teacher(table, own) for name, table in tables.items()}
    return _measured(cfg, dataset, models, loaded, tables)


def _scored(cfg: DictConfig, dataset: Dataset, loaded: LoadedModel) -> ScoredRows:
    """Scores a split with a model; every rank takes a share, and has all rows in the end.

    Logits are the odds of the log that is measured, whatever share of negatives the model's own log kept.
    """
    split, target = _split(cfg), device(cfg)
    view = dataset.schema.model_copy(update={"fields": loaded.schema.fields})
    logged = cfg.teacher_path == _COLUMN
    if logged and dataset.schema.teacher is None:
        raise DataError(
            "The data holds no teacher scores.",
            where=f"teacher_path, {dataset.root}",
            expected="`teacher` in the schema",
            remedy="Declare the columns, or name a checkpoint: teacher_path=FILE.ckpt",
        )
    reader = SplitReader.open(dataset, view, split, "dataset" if logged else None, ())
    loader = assumed(cfg).data.loader
    size = int(loader.get("eval_batch_candidates") or loader.batch_candidates)
    plan = plan_epoch(reader.index, StreamOrder(size, size, world_size(), 0, False), 0)
    measured = loaded.schema.model_copy(update={"negative_sampling": dataset.schema.negative_sampling})
    shifts = [own - other for own, other in zip(loaded.schema.log_rates, measured.log_rates, strict=True)]
    model, score, state = loaded.model.to(target), RankingScore(measured), MetricState()
    signals = logged_signals(dataset.schema) if logged else None
    by_teacher = RankingScore(measured, dataset.schema.logged_tasks)
    of_teacher = by_teacher if logged and by_teacher.tasks else None
    transfer = BatchTransfer()
    with torch.no_grad():
        for read in BatchLoader(reader, plan, rank(), world_size()):
            batch = transfer(read, target)
            logits = shifted(model(batch).logits.float(), shifts)
            state.update(rows_of_batch(batch, logits, score, None if signals is None else signals(batch), of_teacher))
    return state.gather().rows


def _split(cfg: DictConfig) -> Split:
    """Raw files are prepared into the test split."""
    split: Split = "test" if cfg.data.get("root") is None else cfg.data_split
    return split


def _check_same_rows(tables: Mapping[str, ScoredRows], name: str) -> None:
    first = next(iter(tables))
    if not torch.equal(tables[first].request_id, tables[name].request_id):
        raise DataError("Two models did not score the same rows.", where=f"path: {first}, {name}")


def _with_teacher(table: ScoredRows, teacher: ScoredRows) -> ScoredRows:
    valid = torch.ones(table.num_rows, dtype=torch.bool)
    return replace(table, teacher_logits=teacher.logits, teacher_score=teacher.score, teacher_valid=valid)


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
    measured = {name: suite.measure(table, tasks) for name, table in tables.items()}
    first, *others = models
    declared = dataset.schema.teacher if cfg.teacher_path == _COLUMN else None
    known = None if declared is None else dataset.schema.logged_tasks
    judge = Teacher(known, probabilities=declared is None or declared.kind != "position")
    own = measure_teacher(suite, tables[first], tasks, judge)
    if own is not None:
        measured = {TEACHER: own, **measured}
    names = dict.fromkeys(metric for values, _ in measured.values() for metric in values)
    contents = dataset.manifest.contents
    fields = {} if contents is None else contents.splits[_split(cfg)].fields
    return Evaluation(
        data=_data_name(cfg),
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


def _data_name(cfg: DictConfig) -> str:
    source = cfg.data.get("root") or cfg.data.get("source")
    if source is None:
        return str(cfg.data.get("name", "data"))
    return ", ".join(Path(one).name for one in ([source] if isinstance(source, str) else plain(source)))


def _shown(metric: str, found: list[Evaluation]) -> str:
    """Returns the metric that tables and pictures over days show.

    Raises:
        ConfigError: No model has it.
    """
    names = dict.fromkeys(name for one in found for values in one.metrics.values() for name in values)
    if metric not in names:
        raise ConfigError("There is no such metric.", where="metric", expected=", ".join(names), found=metric)
    return metric
