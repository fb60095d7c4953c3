"""A split scored by any models: which files a config names, and the table of rows that each of them makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from distill.batch import Batch
from distill.data.format import Dataset, Split
from distill.data.stream import BatchLoader, SplitReader, StreamOrder, plan_epoch
from distill.data.transfer import BatchTransfer
from distill.errors import DataError
from distill.jobs.checkpoints import BEST, checkpoint_of
from distill.jobs.machine import device
from distill.jobs.node import plain
from distill.jobs.parts import LoadedModel
from distill.jobs.sizes import assumed
from distill.jobs.teacher import logged_signals
from distill.metrics import MetricState, ScoredRows, rows_of_batch
from distill.models.score import RankingScore, shifted
from distill.ops.ranks import rank, world_size
from distill.schema import FieldSpec, Schema

COLUMN = "column"
"""Of `teacher_path`: the scores that the data holds."""


def models_of(cfg: DictConfig) -> dict[str, Path]:
    """Returns the files that `path` names, by the names that they have in the table."""
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


def scored_rows(cfg: DictConfig, dataset: Dataset, loaded: LoadedModel) -> ScoredRows:
    """Scores a split with a model; every rank takes a share, and has all rows in the end.

    Logits are the odds of the log that is measured, whatever share of negatives the model's own log kept.

    Raises:
        DataError: The teacher's scores are wanted of a data set that has none.
    """
    schema = loaded.schema
    measured = schema.model_copy(update={"negative_sampling": dataset.schema.negative_sampling})
    shifts = [own - other for own, other in zip(schema.log_rates, measured.log_rates, strict=True)]
    model = loaded.model.to(device(cfg))

    def logits(batch: Batch) -> Tensor:
        return shifted(model(batch).logits.float(), shifts)

    return _table(cfg, dataset, measured, logits)


def unscored_rows(cfg: DictConfig, dataset: Dataset) -> ScoredRows:
    """Returns the rows of a split as no model scored them: logits and score are 0. See `scored_rows`."""
    tasks = len(dataset.schema.tasks)

    def logits(batch: Batch) -> Tensor:
        return torch.zeros(batch.num_candidates, tasks, device=batch.row.device)

    return _table(cfg, dataset, dataset.schema, logits)


def batches_of(
    cfg: DictConfig, dataset: Dataset, fields: tuple[FieldSpec, ...], whole: bool = False
) -> Iterator[Batch]:
    """Yields batches of the split that is measured, on this rank's device, with logged scores if they are wanted.

    Args:
        cfg: Names the split.
        dataset: Holds it.
        fields: That are read.
        whole: Whether this rank reads all of it, and not its share alone.

    Raises:
        DataError: They are wanted of a data set that has none.
    """
    logged = cfg.teacher_path == COLUMN
    if logged and dataset.schema.teacher is None:
        raise DataError(
            "The data holds no teacher scores.",
            where=f"teacher_path, {dataset.root}",
            expected="`teacher` in the schema",
            remedy="Declare the columns, or name a checkpoint: teacher_path=FILE.ckpt",
        )
    view = dataset.schema.model_copy(update={"fields": fields})
    reader = SplitReader.open(dataset, view, split_of(cfg), "dataset" if logged else None, ())
    loader = assumed(cfg).data.loader
    size = int(loader.get("eval_batch_candidates") or loader.batch_candidates)
    own, ranks = (0, 1) if whole else (rank(), world_size())
    plan = plan_epoch(reader.index, StreamOrder(size, size, ranks, 0, False), 0)
    transfer, target = BatchTransfer(), device(cfg)
    for read in BatchLoader(reader, plan, own, ranks):
        yield transfer(read.measured(), target)


def _table(cfg: DictConfig, dataset: Dataset, schema: Schema, logits: Callable[[Batch], Tensor]) -> ScoredRows:
    logged = cfg.teacher_path == COLUMN and dataset.schema.teacher is not None
    signals = logged_signals(dataset.schema) if logged else None
    score, by_teacher = RankingScore(schema), RankingScore(schema, dataset.schema.logged_tasks)
    of_teacher = by_teacher if logged and by_teacher.tasks else None
    state = MetricState()
    with torch.no_grad():
        for batch in batches_of(cfg, dataset, schema.fields):
            said = None if signals is None else signals(batch)
            state.update(rows_of_batch(batch, logits(batch), score, said, of_teacher))
    return state.gather().rows


def split_of(cfg: DictConfig) -> Split:
    """The split that is measured; raw files are prepared into the test split."""
    split: Split = "test" if cfg.data.get("root") is None else cfg.data_split
    return split


def check_same_rows(tables: Mapping[str, ScoredRows], name: str) -> None:
    """Refuses a table of other rows than the first has.

    Raises:
        DataError: It is one.
    """
    first = next(iter(tables))
    if not torch.equal(tables[first].request_id, tables[name].request_id):
        raise DataError("Two models did not score the same rows.", where=f"path: {first}, {name}")


def with_teacher(table: ScoredRows, teacher: ScoredRows) -> ScoredRows:
    """Returns a table with another's scores as the teacher's."""
    valid = torch.ones(table.num_rows, dtype=torch.bool)
    return replace(table, teacher_logits=teacher.logits, teacher_score=teacher.score, teacher_valid=valid)


def data_name(cfg: DictConfig) -> str:
    """What the rows are called: the last part of the source's path, or of the dataset's folder."""
    source = cfg.data.get("root") or cfg.data.get("source")
    if source is None:
        return str(cfg.data.get("name", "data"))
    return ", ".join(Path(one).name for one in ([source] if isinstance(source, str) else plain(source)))
