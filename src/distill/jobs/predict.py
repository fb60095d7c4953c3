"""Scores raw files with a model: what a run trained, on rows that nobody has labelled, with their own keys."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import Tensor

from distill.batch import Batch
from distill.console import plain_console
from distill.data.found import find_all, sources_root
from distill.data.prepare.ahead import ahead
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.plan import check_columns, open_files
from distill.data.prepare.progress import Pass, PassProgress
from distill.data.prepare.source import BATCH_BYTES
from distill.data.prepare.uses import Use
from distill.data.raw_identity import stamp
from distill.data.transfer import BatchTransfer
from distill.data.unlabelled import ChunkFeatures, FeatureEncoder, RawUnits
from distill.data.unlabelled.uses import ANY, kept_uses, scoring_uses, shape_of
from distill.encodings import FittedEncodings
from distill.errors import ConfigError
from distill.features.tables import UndrawnTables
from distill.files import hash_file, raw_sibling
from distill.jobs.behind import Behind
from distill.jobs.cache import exclusive
from distill.jobs.checkpoints import checkpoint_of, file_of_model
from distill.jobs.machine import device, job_ranks
from distill.jobs.node import plain
from distill.jobs.parts import LoadedModel, load_model
from distill.jobs.prediction_table import RANK, PredictionTable
from distill.jobs.predictions import PredictionFolder, PredictionWriter
from distill.models.score import RankingScore
from distill.ops.ranks import barrier, rank, world_size
from distill.places.mirror import named, named_data
from distill.places.staged import pull, push
from distill.schema import Schema

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predicted:
    """What was written: the folder, candidates and requests in it, candidates scored now, and the seconds."""

    folder: Path
    candidates: int
    requests: int
    scored_now: int
    seconds: float


def run(cfg: DictConfig) -> Predicted:
    """Writes what the model of `path` says of every candidate of `source` to `out`, in as many processes."""
    with job_ranks(cfg, Path(HydraConfig.get().runtime.output_dir)) as (agreed, _):
        start = time.perf_counter()
        path = checkpoint_of(Path(agreed.path))
        with ThreadPoolExecutor(1) as aside:
            content = aside.submit(hash_file, file_of_model(path))
            loaded = load_model(path, UndrawnTables)
        out = Path(agreed.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with raw_sibling(out) as scratch, PassProgress(rank() == 0) as bars:  # there is room for the result too
            job = _Prediction(agreed, content.result(), loaded, loaded.fitted(path))
            with exclusive(out.with_suffix(".lock")):
                counts, now = job.run(scratch, bars)
        found = Predicted(out, counts["candidates"], counts["requests"], now, time.perf_counter() - start)
        if rank() == 0:
            _say(found, counts)
    return found


def _say(found: Predicted, counts: dict[str, int]) -> None:
    console = plain_console()
    console.print(
        f"Predictions of {found.candidates:,} candidates in {found.requests:,} requests ({found.scored_now:,} scored "
        f"now, {found.seconds:.0f} s, {found.scored_now / max(found.seconds, 1e-9):,.0f} rows/s) are in "
        f"{named(str(found.folder))}",
        soft_wrap=True,
    )
    unknown = [
        f"{name.partition('/')[2]} {count / counts[name.replace('unknown/', 'values/')]:.1%}"
        for name, count in sorted(counts.items())
        if name.startswith("unknown/")
    ]
    if unknown:
        console.print(f"Values that the encodings do not know: {', '.join(unknown)}.", soft_wrap=True)


@dataclass(frozen=True)
class _Prediction:
    cfg: DictConfig
    content: str  # of the file of the model
    loaded: LoadedModel
    fitted: FittedEncodings

    @property
    def _schema(self) -> Schema:
        return self.loaded.schema

    def run(self, scratch: Path, bars: PassProgress) -> tuple[dict[str, int], int]:
        """Predicts all units; returns what was counted in all of them, and the candidates that this rank scored now."""
        units, kept, raw = self._units(scratch, bars)
        out = Path(self.cfg.out)
        if rank() == 0:
            pull(out)
        folder = PredictionFolder(out, self._plan(raw), len(units))
        if rank() == 0:
            folder.begin()
        barrier()
        missing = [number for number in _own_units(len(units)) if not folder.part(number).exists()]
        bar = bars.begin("predict", units.files.num_rows)
        tables = self._tables(kept)
        with PredictionWriter(folder, tables.made) as files:
            now = self._write(files, units, missing, tables, bar)
        barrier()
        counts: dict[str, int] = folder.finish()["counts"] if rank() == 0 else {"candidates": 0, "requests": 0}
        if rank() == 0:
            push(out)
        return counts, now

    def _units(self, scratch: Path, bars: PassProgress) -> tuple[RawUnits, Sequence[Use], list[Path]]:
        schema, given = self._schema, plain(self.cfg.source)
        sources = [given] if isinstance(given, str) else given
        found = find_all(sources, "source")
        for line in found.notes(sources_root(sources)):
            _log.warning("%s", line)
        uses = scoring_uses(schema)
        wanted = [Use(name, "keep", False, ANY, constant=False) for name in plain(self.cfg.keep)]
        files = open_files(found.read, schema, (*uses, *wanted), min(BATCH_BYTES, int(self.cfg.memory_bytes) // 16))
        shape = shape_of(schema, files, uses)
        kept = kept_uses(plain(self.cfg.keep), uses, shape, files)
        check_columns(files, uses, shape)
        self._check_names(shape == "flat")
        units = RawUnits.plan(
            files, schema, (*uses, *kept), shape, scratch, int(self.cfg.memory_bytes), bars, self.cfg.unit_rows
        )
        return units, kept, list(found.read)

    def _tables(self, kept: Sequence[Use]) -> PredictionTable:
        of_candidate = {use.column: use.per_candidate for use in (*kept, *scoring_uses(self._schema))}
        return PredictionTable(self._schema, plain(self.cfg.keep), of_candidate, self.cfg.top_k)

    def _check_names(self, flat: bool) -> None:
        """Refuses kept columns with the names of those that are made."""
        made = {RANK, *self._tables(()).made}
        clash = sorted(made & {*plain(self.cfg.keep), self._schema.keys.request, self._schema.keys.item} - {None})
        if clash:
            raise ConfigError("A raw column has the name of one that is made.", where="keep", found=", ".join(clash))
        if flat and self.cfg.top_k is not None:
            raise ConfigError(
                "Rows of a flat layout are in no request, so none is the best of one.",
                where="top_k",
                expected="null",
                found=str(self.cfg.top_k),
            )

    def _plan(self, raw: Sequence[Path]) -> dict[str, object]:
        """What makes the files what they are."""
        return {
            "model": self.content,
            "files": [named_data(stamp(path)) for path in raw],
            "keep": list(plain(self.cfg.keep)),
            "top_k": self.cfg.top_k,
            "unit_rows": self.cfg.unit_rows,
            "memory_bytes": int(self.cfg.memory_bytes),
        }

    def _write(
        self, files: PredictionWriter, units: RawUnits, numbers: Sequence[int], tables: PredictionTable, bar: Pass
    ) -> int:
        """Writes the files of units; returns their candidates.

        One thread reads, one encodes, this one runs the model, and one makes tables and writes them.
        """
        written, model = 0, self.loaded.model.to(device(self.cfg))
        with ThreadPoolExecutor(2) as pool, Behind() as behind:
            encoder = FeatureEncoder(self._schema, self.fitted, pool)
            for ready in ahead(self._encoded(ahead(units.stream(numbers)), encoder)):
                logits, score = self._scored(model, ready.batches)
                behind(partial(_add, files, tables, ready, logits, score))
                written += ready.features.chunk.num_candidates
                bar.advance(ready.features.chunk.num_raw_rows)
            behind(files.finish)
        return written

    def _encoded(self, chunks: Iterator[tuple[int, Chunk]], encoder: FeatureEncoder) -> Iterator[_Ready]:
        for number, chunk in chunks:
            features = encoder.encode(chunk)
            yield _Ready(number, features, list(features.batches(int(self.cfg.batch_candidates))))

    @torch.no_grad()
    def _scored(self, model: torch.nn.Module, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Returns the logits of the candidates of a chunk `[N, K]` and their ranking score `[N]`; a GPU is waited for
        once."""
        score, target, transfer = RankingScore(self._schema), device(self.cfg), BatchTransfer()
        if not batches:
            return torch.zeros(0, len(self._schema.tasks)), torch.zeros(0)
        logits = torch.cat([model(transfer(batch, target)).logits.float() for batch in batches]).cpu()
        of_batches = torch.split(logits, [batch.num_candidates for batch in batches])
        return logits, torch.cat([score(own, b.columns) for own, b in zip(of_batches, batches, strict=True)])


@dataclass(frozen=True)
class _Ready:
    """A chunk of a unit, ready for the model."""

    number: int
    features: ChunkFeatures
    batches: Sequence[Batch]


def _own_units(number: int) -> range:
    """Units of this rank: those of a rank follow one another, so that it reads its rows in one go."""
    return range(number * rank() // world_size(), number * (rank() + 1) // world_size())


def _add(files: PredictionWriter, tables: PredictionTable, ready: _Ready, logits: Tensor, score: Tensor) -> None:
    table = tables.table(ready.features.chunk, logits, score.numpy())
    files.add(ready.number, table, _counted(ready.features))


def _counted(features: ChunkFeatures) -> dict[str, int]:
    chunk = features.chunk
    return {
        "candidates": chunk.num_candidates,
        "requests": len(chunk.counts),
        **{f"unknown/{name}": count for name, count in features.unknown.items()},
        **{f"values/{name}": count for name, count in features.num_values.items()},
    }
