"""Writes the predictions of units of raw rows: what each process of a prediction does, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from distill.batch import Batch
from distill.data.prepare.ahead import ahead
from distill.data.prepare.chunk import Chunk
from distill.data.transfer import BatchTransfer
from distill.data.unlabelled import ChunkFeatures, FeatureEncoder, RawUnits
from distill.engines import Advance
from distill.jobs.behind import Behind
from distill.jobs.prediction_table import PredictionTable
from distill.jobs.predictions import PredictionFolder, PredictionWriter
from distill.jobs.sent_model import SentModel
from distill.models.score import RankingScore
from distill.schema import Schema


@dataclass(frozen=True)
class UnitScorer:
    """What the units of a prediction share.

    Attributes:
        model: That scores.
        units: Of the raw rows.
        folder: Of the predictions.
        tables: Makes tables of them.
        batch_candidates: Candidates in a batch.
        device: Where to compute.
    """

    model: SentModel
    units: RawUnits
    folder: PredictionFolder
    tables: PredictionTable
    batch_candidates: int
    device: torch.device

    def write(self, numbers: Sequence[int], advance: Advance) -> int:
        """Writes the files of units; returns how many candidates are in them.

        One thread reads, one encodes, this one runs the model, and one makes tables and writes them.

        Args:
            numbers: Of the units, in ascending order.
            advance: Told of raw rows that are done.
        """
        written, model = 0, self.model.loaded.model.to(self.device)
        with (
            PredictionWriter(self.folder, self.tables.made) as files,
            ThreadPoolExecutor(2) as pool,
            Behind() as behind,
        ):
            encoder = FeatureEncoder(self._schema, self.model.fitted, pool)
            for ready in ahead(self._encoded(ahead(self.units.stream(numbers)), encoder)):
                logits, score = self._scored(model, ready.batches)
                behind(partial(self._add, files, ready, logits, score))
                written += ready.features.chunk.num_candidates
                advance(ready.features.chunk.num_raw_rows)
            behind(files.finish)
        return written

    @property
    def _schema(self) -> Schema:
        return self.model.loaded.schema

    def _encoded(self, chunks: Iterator[tuple[int, Chunk]], encoder: FeatureEncoder) -> Iterator[_Ready]:
        for number, chunk in chunks:
            features = encoder.encode(chunk)
            yield _Ready(number, features, list(features.batches(self.batch_candidates)))

    @torch.no_grad()
    def _scored(self, model: torch.nn.Module, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Returns the logits of the candidates of a chunk `[N, K]` and their ranking score `[N]`; a GPU is waited for
        once."""
        score, transfer = RankingScore(self._schema), BatchTransfer()
        if not batches:
            return torch.zeros(0, len(self._schema.tasks)), torch.zeros(0)
        logits = torch.cat([model(transfer(batch.measured(), self.device)).logits.float() for batch in batches]).cpu()
        of_batches = torch.split(logits, [batch.num_candidates for batch in batches])
        return logits, torch.cat([score(own, b.columns) for own, b in zip(of_batches, batches, strict=True)])

    def _add(self, files: PredictionWriter, ready: _Ready, logits: Tensor, score: Tensor) -> None:
        table = self.tables.table(ready.features.chunk, logits, score.numpy())
        files.add(ready.number, table, _counted(ready.features))


def write_units(scorer: UnitScorer, numbers: Sequence[int], advance: Advance) -> int:
    """Writes the files of units, as the task of an engine; see `UnitScorer.write`."""
    return scorer.write(numbers, advance)


@dataclass(frozen=True)
class _Ready:
    """A chunk of a unit, ready for the model."""

    number: int
    features: ChunkFeatures
    batches: Sequence[Batch]


def _counted(features: ChunkFeatures) -> dict[str, int]:
    chunk = features.chunk
    return {
        "candidates": chunk.num_candidates,
        "requests": len(chunk.counts),
        **{f"unknown/{name}": count for name, count in features.unknown.items()},
        **{f"values/{name}": count for name, count in features.num_values.items()},
    }
