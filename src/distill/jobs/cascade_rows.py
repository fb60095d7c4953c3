"""What a cascade is measured on: the rows as every student scored them, the ranker's word, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from distill.cascade import Judged
from distill.data.dataset import load_dataset
from distill.data.format import Dataset
from distill.errors import ConfigError, DataError
from distill.jobs.checkpoints import checkpoint_of
from distill.jobs.of_model import dataset_of_model
from distill.jobs.parts import LoadedModel, load_model
from distill.jobs.score_files import is_score_file, with_scores
from distill.jobs.scored import COLUMN, check_same_rows, models_of, scored_rows, unscored_rows, with_teacher
from distill.metrics import ScoredRows
from distill.metrics.rows import canonical


@dataclass(frozen=True)
class Students:
    """The students and the ranker.

    Attributes:
        files: Name of a student to its file.
        loaded: Name to its model; of score files there is none.
        ranker: File and model; None if the data holds its scores.
    """

    files: Mapping[str, Path]
    loaded: Mapping[str, LoadedModel]
    ranker: tuple[Path, LoadedModel] | None

    @classmethod
    def of(cls, cfg: DictConfig) -> Students:
        """Loads what `path` and `teacher_path` name."""
        files = models_of(cfg)
        loaded = {name: load_model(path) for name, path in files.items() if not is_score_file(path)}
        path = None if cfg.teacher_path == COLUMN else checkpoint_of(Path(cfg.teacher_path))
        return cls(files, loaded, None if path is None else (path, load_model(path)))

    def dataset(self, cfg: DictConfig) -> Dataset:
        """Returns the rows, as the first model reads them.

        Raises:
            ConfigError: There are only files of scores, and no prepared dataset.
        """
        for name, model in self.loaded.items():
            return dataset_of_model(cfg, model, self.files[name])
        if self.ranker is not None:
            return dataset_of_model(cfg, self.ranker[1], self.ranker[0])
        if cfg.data.get("root") is None:
            raise ConfigError(
                "Files of scores are of a prepared dataset.", where="data", expected="data=prepared data.root=DIR"
            )
        return load_dataset(Path(cfg.data.root))


def tables_of(cfg: DictConfig, dataset: Dataset, students: Students) -> dict[str, ScoredRows]:
    """Returns the rows as each student scored them, with the ranker's scores."""
    tables: dict[str, ScoredRows] = {}
    plain_rows: ScoredRows | None = None
    for name, path in students.files.items():
        if name in students.loaded:
            model = students.loaded[name]
            tables[name] = canonical(scored_rows(cfg, dataset_of_model(cfg, model, path), model)).rows
        else:
            plain_rows = plain_rows or canonical(unscored_rows(cfg, dataset)).rows
            tables[name] = with_scores(plain_rows, path, dataset)
        check_same_rows(tables, name)
    if students.ranker is None:
        return tables
    path, model = students.ranker
    own = canonical(scored_rows(cfg, dataset_of_model(cfg, model, path), model)).rows
    return {name: with_teacher(table, own) for name, table in tables.items()}


def judged_of(rows: ScoredRows, index: Tensor, num_requests: int) -> Judged:
    """Returns the candidates with the ranker's word on them.

    Raises:
        DataError: It orders no candidates.
    """
    if rows.teacher_score is None:
        raise DataError(
            "The ranker scores no task of the ranking score.",
            where="teacher_path",
            expected="scores of a task that the ranking score has",
        )
    everyone = torch.ones_like(index, dtype=torch.bool)
    return Judged(
        index, num_requests, rows.teacher_score, everyone if rows.teacher_valid is None else rows.teacher_valid
    )


def worth_of(cfg: DictConfig, rows: ScoredRows, dataset: Dataset) -> tuple[Tensor, Tensor | None]:
    """Returns what says which candidates are the best `[N]`, and the value of showing them; NaN where not known.

    Raises:
        ConfigError: There is no such column.
        DataError: A value is below 0.
    """
    if cfg.truth is not None:
        truth = column_of(rows, str(cfg.truth), "truth").double()
        value = truth.exp() if cfg.truth_is_log else truth
        if bool((value < 0).any()):
            raise DataError(
                "A value of showing a candidate is below 0.",
                where=f"truth, column {cfg.truth!r}",
                expected="numbers of at least 0, or truth_is_log=true",
                found=f"{float(value[~value.isnan()].min())}",
            )
        return truth, value
    assert rows.teacher_score is not None
    score = rows.teacher_score.double()
    known = score if rows.teacher_valid is None else torch.where(rows.teacher_valid, score, torch.nan)
    declared = dataset.schema.teacher if cfg.teacher_path == COLUMN else None
    return known, None if declared is not None and declared.kind == "position" else known.exp()


def column_of(rows: ScoredRows, name: str, key: str) -> Tensor:
    """Returns an evaluation column `[N]`.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in rows.columns:
        raise ConfigError(
            "The data has no such column for evaluation.",
            where=key,
            expected=", ".join(sorted(rows.columns)) or "a column of `evaluation` in the schema",
            found=name,
        )
    return rows.columns[name]
