"""Scores of candidates from a file: what `predict` writes, or any program that knows the keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from distill.data.format import Dataset
from distill.encodings.arrow import Int64
from distill.encodings.id_values import to_keys
from distill.encodings.place import Place
from distill.encodings.values import to_numbers
from distill.errors import DataError
from distill.jobs.prediction_table import SCORE
from distill.jobs.predictions import PREDICTIONS_FILE
from distill.metrics import ScoredRows


def is_score_file(path: Path) -> bool:
    """Whether a path is a Parquet file, or a folder that `predict` wrote."""
    return path.suffix == ".parquet" or (path / PREDICTIONS_FILE).is_file()


def with_scores(rows: ScoredRows, path: Path, dataset: Dataset) -> ScoredRows:
    """Returns rows with the ranking scores of a file, found by request and item; logits are NaN.

    Args:
        rows: Of a split of the dataset.
        path: Of the file or folder. It has the raw columns of `keys.request` and `keys.item`, and `ranking_score`.
        dataset: Whose keys these are.

    Raises:
        DataError: The file lacks a column, a row or a number, or has a candidate twice.
    """
    keys = dataset.schema.keys
    if keys.request is None or keys.item is None:
        raise DataError(
            "Scores of a file are found by request and item.",
            where=str(dataset.root),
            expected="`keys.request` and `keys.item` in the schema",
        )
    table = _read(path, [keys.request, keys.item, SCORE])
    own = _pairs(
        *(
            to_keys(table.column(name).combine_chunks(), Place(name, f"scores of {path}"))[0]
            for name in (keys.request, keys.item)
        )
    )
    scores, missing = to_numbers(table.column(SCORE).combine_chunks(), Place(SCORE, f"scores of {path}"))
    if missing.any():
        raise DataError("A score is null.", where=f"{path}, column {SCORE}", found=f"{int(missing.sum())} nulls")
    order = np.argsort(own, kind="stable")
    if (own[order][1:] == own[order][:-1]).any():
        raise DataError(
            "A candidate occurs twice in a file of scores.", where=str(path), expected="an item once a request"
        )
    wanted = _pairs(rows.request_id.numpy(), rows.item_id.numpy())
    place = np.searchsorted(own[order], wanted).clip(max=max(len(own) - 1, 0))
    found = own[order][place] == wanted if len(own) else np.zeros(len(wanted), bool)
    if not found.all():
        raise DataError(
            "A file of scores lacks candidates of the split.",
            where=str(path),
            expected=f"a row for each of {len(wanted)} candidates",
            found=f"{int(found.sum())} of them",
            remedy="Score all candidates of the split that is measured: data_split.",
        )
    score = torch.from_numpy(scores[order][place].astype(np.float32))
    return replace(rows, score=score, logits=torch.full_like(rows.logits, torch.nan))


def _read(path: Path, names: list[str]) -> pa.Table:
    try:
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        return pa.concat_tables([pq.read_table(file, columns=names) for file in files])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DataError(
            "A file of scores cannot be read.",
            where=str(path),
            expected=f"Parquet with {', '.join(names)}",
            found=" ".join(str(error).split())[:200],
        ) from error


def _pairs(request: Int64, item: Int64) -> NDArray[np.void]:
    """Returns pairs of keys as values that can be sorted and compared `[n]`."""
    pairs = np.empty(len(request), dtype=[("request", np.int64), ("item", np.int64)])
    pairs["request"], pairs["item"] = request, item
    return pairs
