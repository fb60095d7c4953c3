"""Scores raw files with a model: what a run trained, on rows that nobody has labelled, with their own keys."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from distill.console import plain_console
from distill.data.found import find_all, sources_root
from distill.data.prepare.plan import check_columns, open_files
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.source import BATCH_BYTES
from distill.data.prepare.uses import Use
from distill.data.raw_identity import stamp
from distill.data.unlabelled import RawUnits
from distill.data.unlabelled.uses import ANY, kept_uses, scoring_uses, shape_of
from distill.engines import Engine
from distill.errors import ConfigError
from distill.features.tables import UndrawnTables
from distill.files import hash_file, raw_sibling
from distill.jobs.cache import exclusive
from distill.jobs.checkpoints import checkpoint_of, file_of_model
from distill.jobs.engine import engine_of
from distill.jobs.machine import device, job_ranks
from distill.jobs.node import plain
from distill.jobs.prediction_table import RANK, PredictionTable
from distill.jobs.predictions import PredictionFolder
from distill.jobs.sent_model import SentModel
from distill.jobs.unit_scorer import UnitScorer, write_units
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
    with job_ranks(cfg, Path(HydraConfig.get().runtime.output_dir)) as (agreed, _), engine_of(agreed) as engine:
        start = time.perf_counter()
        path = checkpoint_of(Path(agreed.path))
        model = SentModel.of(path, agreed, UndrawnTables)
        with ThreadPoolExecutor(1) as aside:
            content = aside.submit(hash_file, file_of_model(path))
            _ = model.fitted
        out = Path(agreed.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with raw_sibling(out) as scratch, PassProgress(rank() == 0) as bars:  # there is room for the result too
            job = _Prediction(agreed, content.result(), model, engine)
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
    model: SentModel
    engine: Engine

    @property
    def _schema(self) -> Schema:
        return self.model.loaded.schema

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
        bar, tables = bars.begin("predict", units.files.num_rows), self._tables(kept)
        scorer = UnitScorer(self.model, units, folder, tables, int(self.cfg.batch_candidates), device(self.cfg))
        now = sum(self.engine.map(write_units, scorer, self.engine.portions(missing), bar.advance))
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
        memory = int(self.cfg.memory_bytes)
        units = RawUnits.plan(
            files, schema, (*uses, *kept), shape, scratch, memory, bars, self.cfg.unit_rows, self.engine
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
            raise ConfigError("A raw column has the name of an output column.", where="keep", found=", ".join(clash))
        if flat and self.cfg.top_k is not None:
            raise ConfigError(
                "Rows of a flat layout have no request, so there are no best rows per request.",
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


def _own_units(number: int) -> range:
    """Units of this rank: those of a rank follow one another, so that it reads its rows in one go."""
    return range(number * rank() // world_size(), number * (rank() + 1) // world_size())
