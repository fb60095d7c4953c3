"""Writes what a teacher says of a whole dataset beside the data: sharded over ranks, resumable, with provenance."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console

from distill.batch import RankerOutput
from distill.data.files import hash_file, hash_once, room_for, temporary_sibling, write_text_atomic
from distill.data.format import NUM_CANDIDATES, SPLITS, Dataset, PartFile, Split, teacher_column
from distill.data.stream import iterate_part
from distill.data.stream.signals import HIDDEN_PREFIX, vector_type
from distill.errors import ConfigError, SignalError
from distill.jobs.cache import exclusive
from distill.jobs.datasets import open_dataset
from distill.jobs.machine import device, job_ranks
from distill.jobs.parts import LoadedModel, load_model
from distill.signals.provenance import PROVENANCE_FILE, Provenance, read_provenance
from distill.training.launch import barrier, rank, world_size

_log = logging.getLogger(__name__)
_BATCH_CANDIDATES = 32_768
HIDDEN_TYPES = ("float32", "float16")
_TEACHER_KEY, _DATASET_KEY = b"distill.teacher", b"distill.dataset"


@dataclass(frozen=True)
class Scored:
    """What was written: the folder, how many candidates, how many of them now rather than before, and the seconds."""

    folder: Path
    candidates: int
    scored_now: int
    seconds: float


def run(cfg: DictConfig) -> Scored:
    """Scores `data` with `teacher.path` and writes the signals to `out` (by default below paths.cache)."""
    if cfg.teacher.get("path") is None:
        raise ConfigError(
            "Name the teacher's checkpoint.", where="teacher.path", remedy="teacher=checkpoint teacher.path=FILE.ckpt"
        )
    console = Console()
    with job_ranks(cfg, Path(HydraConfig.get().runtime.output_dir)) as (cfg, _):
        dataset = open_dataset(cfg)
        scored = score_dataset(
            Path(cfg.teacher.path),
            dataset,
            Path(cfg.paths.cache),
            cfg.get("out"),
            device(cfg),
            tuple(cfg.hidden),
            cfg.hidden_type,
        )
        if rank() == 0:
            console.print(
                f"Teacher signals of {scored.candidates:,} candidates ({scored.scored_now:,} scored now, "
                f"{scored.seconds:.0f} s) are in {scored.folder}\n"
                f"Use them with teacher=column teacher.path={scored.folder}",
                soft_wrap=True,
            )
    return scored


def check_teacher(loaded: LoadedModel, path: Path, dataset: Dataset) -> None:
    """Refuses a teacher that was trained on another dataset: its ids would mean other things.

    Raises:
        SignalError: It was.
    """
    if loaded.dataset != dataset.fingerprint:
        raise SignalError(
            "The teacher was trained on another dataset; its ids mean other things.",
            where=str(path),
            expected=f"dataset {dataset.fingerprint} ({dataset.root})",
            found=f"dataset {loaded.dataset}",
            remedy="Train the teacher on this dataset, or choose the dataset that it was trained on.",
        )


def score_dataset(
    checkpoint: Path,
    dataset: Dataset,
    cache: Path,
    out: str | None,
    target: torch.device,
    hidden: Sequence[str] = (),
    hidden_type: str = "float32",
) -> Scored:
    """Scores every split with a checkpoint; parts that are there already are kept. All ranks call it together.

    Args:
        checkpoint: The teacher.
        dataset: What to score.
        cache: Where the signals go (named by the content of teacher and dataset) unless `out` is given.
        out: Folder of the signals.
        target: Where to compute.
        hidden: Names of the teacher's hidden vectors to write beside its logits.
        hidden_type: What their numbers are written as: float32, or float16 for half the bytes.

    Raises:
        SignalError: The teacher belongs to another dataset, or a hidden vector does not fit into float16.
        ConfigError: The teacher has no such hidden vector, or the type is unknown.
    """
    start = time.perf_counter()
    loaded = load_model(checkpoint)
    check_teacher(loaded, checkpoint, dataset)
    if hidden_type not in HIDDEN_TYPES:
        raise ConfigError(
            "Hidden vectors cannot be written as this type.",
            where="hidden_type",
            expected=" or ".join(HIDDEN_TYPES),
            found=str(hidden_type),
        )
    names = tuple(sorted(set(hidden)))
    provenance = Provenance(
        hash_file(checkpoint), dataset.fingerprint, loaded.schema.task_names, names, hidden_type if names else "float32"
    )
    half = ["float16"] if provenance.hidden_type == "float16" else []
    name = "-".join([provenance.teacher[:12], provenance.dataset[:12], *names, *half])
    folder = Path(out) if out is not None else cache / "signals" / name
    loaded.model.to(target)
    now = 0
    with exclusive(folder.with_suffix(".lock")):
        known = _known_parts(folder, provenance)
        barrier()
        for i, (split, index, part) in enumerate(_parts(dataset)):
            if i % world_size() == rank() and not _is_scored(folder, part, provenance, known.get(part.path)):
                _score_part(loaded, dataset, split, index, folder / part.path, provenance, target)
                now += part.candidates
        barrier()
        if rank() == 0:
            parts = {part.path: hash_once(folder / part.path) for _, _, part in _parts(dataset)}
            write_text_atomic(folder / PROVENANCE_FILE, replace(provenance, parts=parts).to_json())
        barrier()
    total = sum(part.candidates for _, _, part in _parts(dataset))
    return Scored(folder, total, now, time.perf_counter() - start)


def _parts(dataset: Dataset) -> Iterator[tuple[Split, int, PartFile]]:
    for split in SPLITS:
        for index, part in enumerate(dataset.manifest.splits.get(split, ())):
            yield split, index, part


def _known_parts(folder: Path, provenance: Provenance) -> Mapping[str, str]:
    """Returns the content hashes that an earlier run of the same teacher on the same dataset recorded."""
    try:
        found = read_provenance(folder)
    except SignalError:
        return {}
    return found.parts if replace(found, tasks=provenance.tasks, parts={}) == provenance else {}


def _is_scored(folder: Path, part: PartFile, provenance: Provenance, digest: str | None) -> bool:
    """Whether a part is there and whole: by its recorded hash, or by its checksums if the job had not ended."""
    path = folder / part.path
    if not path.exists():
        return False
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        found = file.metadata.metadata or {}
        same = (
            found.get(_TEACHER_KEY) == provenance.teacher.encode()
            and found.get(_DATASET_KEY) == provenance.dataset.encode()
        )
        same = same and all(_holds(file.schema_arrow, name, provenance.hidden_type) for name in provenance.hidden)
        if not same or int(file.metadata.num_rows) != part.rows:
            return False
        whole = _is_readable(file) if digest is None else hash_once(path) == digest
    except (OSError, pa.ArrowException):
        whole = False
    if not whole:
        _log.warning("The signal file %s is damaged; it is scored again.", path)
    return whole


def _holds(schema: pa.Schema, hidden: str, kind: str) -> bool:
    """Whether a file holds a hidden vector, as numbers of a type."""
    position = schema.get_field_index(HIDDEN_PREFIX + hidden)
    if position < 0:
        return False
    width, number = vector_type(schema.field(position).type)
    return width > 0 and number == pa.from_numpy_dtype(np.dtype(kind))


def _is_readable(file: pq.ParquetFile) -> bool:
    for group in range(file.num_row_groups):
        file.read_row_group(group)  # raises where a checksum does not fit
    return True


@torch.no_grad()
def _score_part(
    loaded: LoadedModel,
    dataset: Dataset,
    split: Split,
    index: int,
    path: Path,
    provenance: Provenance,
    target: torch.device,
) -> None:
    columns: dict[str, list[NDArray[np.float32 | np.float16]]] = {
        teacher_column(task): [np.zeros(0, np.float32)] for task in provenance.tasks
    }
    for batch in iterate_part(dataset, split, index, loaded.schema, _BATCH_CANDIDATES):
        output: RankerOutput = loaded.model(batch.to(target))
        for name, values in _wanted(output, provenance, path).items():
            kind = provenance.hidden_type if name.startswith(HIDDEN_PREFIX) else "float32"
            columns.setdefault(name, []).append(_as_type(values.float().cpu().numpy(), kind, path, name))
    source = pq.ParquetFile(dataset.root / dataset.parts(split)[index].path)
    joined = {name: np.concatenate(values) for name, values in columns.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary_sibling(path)
    try:
        with room_for(path):
            _write_aligned(joined, source, beside, provenance, nested=loaded.schema.layout == "requests")
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _as_type(values: NDArray[np.float32], kind: str, path: Path, name: str) -> NDArray[np.float32 | np.float16]:
    if kind == "float32":
        return values
    if values.size and np.abs(values).max() > np.finfo(np.float16).max:
        raise SignalError(
            "A hidden vector does not fit into float16.",
            where=f"{path}, column {name}",
            expected=f"numbers up to {np.finfo(np.float16).max}",
            found=f"{np.abs(values).max()}",
            remedy="Write it as hidden_type=float32.",
        )
    return values.astype(np.float16)


def _wanted(output: RankerOutput, provenance: Provenance, path: Path) -> dict[str, torch.Tensor]:
    """Returns what is written of an output, by column."""
    missing = [name for name in provenance.hidden if name not in output.hidden]
    if missing:
        raise ConfigError(
            "The teacher has no such hidden vector.",
            where=str(path),
            expected=", ".join(f"{name} [{v.shape[1]}]" for name, v in output.hidden.items()) or "none",
            found=", ".join(missing),
        )
    logits = {teacher_column(task): output.logits[:, k] for k, task in enumerate(provenance.tasks)}
    return logits | {f"{HIDDEN_PREFIX}{name}": output.hidden[name] for name in provenance.hidden}


def _write_aligned(
    columns: Mapping[str, NDArray[np.float32 | np.float16]],
    source: pq.ParquetFile,
    path: Path,
    provenance: Provenance,
    nested: bool,
) -> None:
    """Writes signals in the rows and row groups of the part file that they belong to."""
    schema = pa.schema(
        [pa.field(name, _type(values, nested), nullable=False) for name, values in columns.items()],
        metadata={_TEACHER_KEY: provenance.teacher.encode(), _DATASET_KEY: provenance.dataset.encode()},
    )
    start = 0
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for group in range(source.num_row_groups):
            rows = source.metadata.row_group(group).num_rows
            offsets, stop = None, start + rows
            if nested:
                lengths = source.read_row_group(group, columns=[NUM_CANDIDATES]).column(0).to_numpy()
                offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
                stop = start + int(lengths.sum())
            arrays = [_array(values[start:stop], offsets) for values in columns.values()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=max(rows, 1))
            start = stop


def _type(values: NDArray[np.float32 | np.float16], nested: bool) -> pa.DataType:
    number = pa.from_numpy_dtype(values.dtype)
    kind = number if values.ndim == 1 else pa.list_(number, values.shape[1])
    return pa.list_(kind) if nested else kind


def _array(values: NDArray[np.float32 | np.float16], offsets: pa.Array | None) -> pa.Array:
    flat = pa.array(values.reshape(-1))
    inner = flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return inner if offsets is None else pa.ListArray.from_arrays(offsets, inner)
