"""Scores raw files with a model: what a run trained, on rows that nobody has labelled, with their own keys."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from distill.console import plain_console
from distill.data.found import find_files, source_root
from distill.data.prepare.ahead import ahead
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.plan import Use, check_columns, open_files
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.source import BATCH_BYTES
from distill.data.unlabelled import ChunkFeatures, FeatureEncoder, RawUnits
from distill.data.unlabelled.uses import ANY, kept_uses, scoring_uses, shape_of
from distill.encodings import FittedEncodings
from distill.errors import ConfigError, DataError
from distill.files import atomic_file, hash_file, raw_sibling
from distill.jobs.cache import exclusive
from distill.jobs.checkpoints import checkpoint_of, file_of_model
from distill.jobs.machine import device, job_ranks
from distill.jobs.node import plain
from distill.jobs.parts import LoadedModel, load_model
from distill.jobs.predictions import PredictionFolder, with_counts
from distill.models.score import RankingScore
from distill.ops.ranks import barrier, rank, world_size
from distill.schema import Schema

SCORE, RANK, ROW, CANDIDATE = "ranking_score", "rank", "row", "candidate"
_PREDICTED = "pred_"
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
        loaded = load_model(path)
        out = Path(agreed.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with raw_sibling(out) as scratch, PassProgress(rank() == 0) as bars:  # there is room for the result too
            job = _Prediction(agreed, path, loaded, loaded.fitted(path))
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
        f"now, {found.seconds:.0f} s, {found.scored_now / max(found.seconds, 1e-9):,.0f} rows/s) are in {found.folder}",
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
    path: Path
    loaded: LoadedModel
    fitted: FittedEncodings

    @property
    def _schema(self) -> Schema:
        return self.loaded.schema

    def run(self, scratch: Path, bars: PassProgress) -> tuple[dict[str, int], int]:
        """Predicts all units; returns what was counted in all of them, and the candidates that this rank scored now."""
        units, kept, raw = self._units(scratch, bars)
        folder = PredictionFolder(Path(self.cfg.out), self._plan(raw), len(units))
        if rank() == 0:
            folder.begin()
        barrier()
        own = [number for number in range(len(units)) if number % world_size() == rank()]
        bar = bars.begin("predict", units.files.num_rows)
        now = 0
        with ThreadPoolExecutor(2) as pool:
            encoder = FeatureEncoder(self._schema, self.fitted, pool)
            model = self.loaded.model.to(device(self.cfg))
            for number in own:
                if not folder.part(number).exists():
                    now += self._write(folder, units, number, encoder, model, kept, bar.advance)
        barrier()
        counts: dict[str, int] = folder.finish()["counts"] if rank() == 0 else {"candidates": 0, "requests": 0}
        return counts, now

    def _units(self, scratch: Path, bars: PassProgress) -> tuple[RawUnits, Sequence[Use], list[Path]]:
        schema, source = self._schema, str(Path(self.cfg.source).expanduser())
        found = find_files(source, None)
        for line in found.notes(source_root(source)):
            _log.warning("%s", line)
        if not found.read:
            raise DataError("There are no data files.", where="source", found=source, remedy="Check source.")
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

    def _check_names(self, flat: bool) -> None:
        """Refuses kept columns with the names of those that are made."""
        made = {SCORE, RANK, *(_PREDICTED + task for task in self._schema.task_names)}
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
        files = [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in raw]
        return {
            "model": hash_file(file_of_model(self.path)),
            "files": files,
            "keep": list(plain(self.cfg.keep)),
            "top_k": self.cfg.top_k,
            "unit_rows": self.cfg.unit_rows,
            "memory_bytes": int(self.cfg.memory_bytes),
        }

    def _write(
        self,
        folder: PredictionFolder,
        units: RawUnits,
        number: int,
        encoder: FeatureEncoder,
        model: torch.nn.Module,
        kept: Sequence[Use],
        advance: Callable[[int], None],
    ) -> int:
        """Writes the file of a unit, whole or not at all; returns its candidates."""
        counts: Counter[str] = Counter(candidates=0, requests=0)
        tables: list[pa.Table] = []
        encoded = ahead(map(encoder.encode, ahead(units.chunks(number))))
        for features in encoded:
            tables.append(self._table(features, model, kept))
            counts.update(_counted(features))
            advance(features.chunk.num_raw_rows)
        table = pa.concat_tables(tables, promote_options="permissive")
        with atomic_file(folder.part(number)) as beside:
            pq.write_table(
                table.replace_schema_metadata(with_counts(table.schema, counts).metadata),
                beside,
                row_group_size=1 << 17,
                compression="zstd",
            )
        return counts["candidates"]

    @torch.no_grad()
    def _table(self, features: ChunkFeatures, model: torch.nn.Module, kept: Sequence[Use]) -> pa.Table:
        """Scores a chunk, and puts the scores beside the raw keys."""
        chunk, target = features.chunk, device(self.cfg)
        score, logits, scores = RankingScore(self._schema), [], []
        for batch in features.batches(int(self.cfg.batch_candidates)):
            found = model(batch.to(target)).logits.float()
            logits.append(found.cpu())
            scores.append(score(logits[-1], batch.columns))
        k = len(self._schema.tasks)
        all_logits = torch.cat(logits) if logits else torch.zeros(0, k)
        order = torch.cat(scores).numpy() if scores else np.zeros(0, np.float32)
        columns = self._keys(chunk, kept)
        for position, task in enumerate(self._schema.tasks):
            of_task = all_logits[:, position]
            columns[_PREDICTED + task.name] = pa.array(
                (of_task.sigmoid() if task.kind == "binary" else of_task).numpy()
            )
        columns[SCORE] = pa.array(order)
        if self._schema.layout == "flat":
            return pa.table(columns)
        ranks = _ranks(order, chunk.counts)
        columns[RANK] = pa.array(ranks)
        table = pa.table(columns)
        return table if self.cfg.top_k is None else table.filter(pa.array(ranks <= self.cfg.top_k))

    def _keys(self, chunk: Chunk, kept: Sequence[Use]) -> dict[str, pa.Array]:
        """The raw keys of the candidates, and the columns that are kept."""
        keys, request = self._schema.keys, pa.array(np.repeat(np.arange(len(chunk.counts)), chunk.counts))
        columns: dict[str, pa.Array] = {}
        if keys.request is not None:
            columns[keys.request] = chunk.request[keys.request].take(request)
        else:
            columns[ROW] = pa.array(chunk.candidate_row)
        if keys.item is not None:
            columns[keys.item] = chunk.candidate[keys.item]
        elif self._schema.layout != "flat":
            columns[CANDIDATE] = pa.array(chunk.numbers)
        of_candidate = {use.column: use.per_candidate for use in (*kept, *scoring_uses(self._schema))}
        for name in plain(self.cfg.keep):
            columns[name] = chunk.candidate[name] if of_candidate[name] else chunk.request[name].take(request)
        return {name: _decoded(column) for name, column in columns.items()}


def _decoded(column: pa.Array) -> pa.Array:
    """Text as text: some batches of a file may come as dictionaries, and others not."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _ranks(score: npt.NDArray[np.float32], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Places within each request, 1 for the highest score; of equal ones the first row is before the others."""
    request = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((-score, request))
    ranks = np.empty(len(score), np.int32)
    ranks[order] = np.arange(len(score)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    return ranks


def _counted(features: ChunkFeatures) -> dict[str, int]:
    chunk = features.chunk
    return {
        "candidates": chunk.num_candidates,
        "requests": len(chunk.counts),
        **{f"unknown/{name}": count for name, count in features.unknown.items()},
        **{f"values/{name}": count for name, count in features.num_values.items()},
    }
