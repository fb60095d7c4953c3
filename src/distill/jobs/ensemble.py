"""Several teachers as one: the mean of what they say, written once beside the data like the signals of a single one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distill.data.format import SPLITS, Dataset, Split, teacher_column
from distill.data.stream.signals import open_sidecar
from distill.errors import ConfigError, SignalError
from distill.files import atomic_file, remove_leftovers_below, room_for
from distill.in_use import use
from distill.jobs.cache import exclusive
from distill.ops.ranks import barrier, rank
from distill.places.staged import pull, push
from distill.schema import log_rates
from distill.signals.provenance import (
    HiddenVectors,
    Provenance,
    check_parts,
    check_provenance,
    finish_signals,
    read_provenance,
)

Mean = Literal["logits", "probabilities"]
_CLIP = 1e-7


def ensemble_signals(
    members: Sequence[Path], weights: Sequence[float] | None, mean: Mean, dataset: Dataset, cache: Path
) -> Path:
    """Writes the weighted mean of several folders of signals, or finds it written. All ranks call it together.

    A candidate that one of the members did not score has no score. Hidden vectors of the same name are put side by
    side, in the order of the members. The logits of each are projected to the odds of the dataset's log before.

    Args:
        members: Folders that the score job wrote for the dataset.
        weights: Of the members, positive; all alike if None.
        mean: Of `logits` (a geometric mean of odds) or of `probabilities`.
        dataset: What was scored.
        cache: Where the folder goes, named by its content.

    Returns:
        A folder of signals.

    Raises:
        ConfigError: The weights do not fit the members, or the mean is unknown.
        SignalError: A folder is not of this dataset, is damaged, or differs in its hidden vectors.
    """
    shares = _shares(members, weights)
    found = [check_provenance(folder, dataset.fingerprint, dataset.schema.task_names) for folder in members]
    if len({one.hidden for one in found}) > 1:
        raise SignalError(
            "The members of the ensemble have different hidden vectors.",
            where="teacher.members",
            found="; ".join(_described(one.hidden) for one in found),
        )
    tasks, rates = dataset.schema.task_names, dict(dataset.schema.negative_sampling or {})
    shifts = np.array([log_rates(one.negative_sampling, tasks) for one in found]) - dataset.schema.log_rates
    described = [[one.teacher for one in found], [float(share) for share in shares], mean, asdict(found[0].hidden)]
    content = json.dumps([*described, *([shifts.tolist()] if shifts.any() else [])])
    teacher = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
    target = Provenance(teacher, dataset.fingerprint, tasks, found[0].hidden, negative_sampling=rates)
    folder = cache / "signals" / f"ensemble-{teacher[:12]}-{dataset.fingerprint[:12]}"
    with exclusive(lock := folder.with_suffix(".lock")):
        if rank() == 0:
            use(folder, lock)
            remove_leftovers_below(folder)
            pull(folder)
        if rank() == 0 and not _is_written(folder, target):
            for member, provenance in zip(members, found, strict=True):
                check_parts(member, provenance)
            combine = partial(_mean, shares=shares, mean=mean, shifts=dict(zip(tasks, shifts.T, strict=True)))
            written = [_write_split(members, combine, dataset, split, folder) for split in SPLITS]
            finish_signals(folder, target, chain.from_iterable(written))
        if rank() == 0:
            push(folder)
        barrier()
    return folder


def _described(hidden: HiddenVectors) -> str:
    if not hidden.names:
        return "none"
    width = "" if hidden.width is None else f", {hidden.width} principal components"
    return f"{', '.join(hidden.names)} ({hidden.type}{width})"


def _shares(members: Sequence[Path], weights: Sequence[float] | None) -> NDArray[np.float64]:
    given = np.ones(len(members)) if weights is None else np.asarray(weights, np.float64)
    if len(members) < 2 or given.shape != (len(members),) or not (given > 0).all():
        raise ConfigError(
            "The ensemble is incomplete.",
            where="teacher.members, teacher.weights",
            expected="two members or more, and a positive weight for each (or null)",
            found=f"{len(members)} members, weights {weights}",
        )
    shares: NDArray[np.float64] = given / given.sum()
    return shares


def _is_written(folder: Path, target: Provenance) -> bool:
    try:
        found = read_provenance(folder)
        check_parts(folder, found)
    except SignalError:
        return False
    return replace(found, parts={}) == target


def _write_split(
    members: Sequence[Path],
    combine: Callable[[Sequence[pa.Table]], pa.Table],
    dataset: Dataset,
    split: Split,
    folder: Path,
) -> Iterator[str]:
    """Writes the part files of a split; yields their paths below the folder."""
    if not dataset.manifest.splits.get(split):
        return
    sidecars = [open_sidecar(dataset, dataset.schema.task_names, split, member) for member in members]
    for i, part in enumerate(dataset.parts(split)):
        path = folder / part.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with room_for(path), atomic_file(path) as beside, ExitStack() as stack:
            files = [sidecar.files[i] for sidecar in sidecars]
            writer: pq.ParquetWriter | None = None
            for group in range(files[0].num_row_groups):
                tables = [file.read(group, sidecars[0].columns.names) for file in files]
                table = combine(tables)
                if writer is None:
                    writer = stack.enter_context(
                        pq.ParquetWriter(beside, table.schema, compression="zstd", write_page_checksum=True)
                    )
                writer.write_table(table, row_group_size=max(table.num_rows, 1))
        yield part.path


def _mean(
    tables: Sequence[pa.Table],
    shares: NDArray[np.float64],
    mean: Mean,
    shifts: Mapping[str, NDArray[np.float64]],
) -> pa.Table:
    """Combines row groups of the members; `shifts` has what is added to the logits of each member `[M]`, by task."""
    of_column = {teacher_column(task): shift for task, shift in shifts.items()}
    columns: dict[str, pa.Array] = {}
    for name in tables[0].column_names:
        arrays = [table.column(name).combine_chunks() for table in tables]
        nested = pa.types.is_list(arrays[0].type)
        inner = [array.flatten() if nested else array for array in arrays]
        if name in of_column:
            logits = np.stack([a.to_numpy() for a in inner]).astype(np.float64) + of_column[name][:, None]
            values = pa.array(_mean_logits(logits, shares, mean))
        else:
            values = _side_by_side(inner)
        columns[name] = pa.ListArray.from_arrays(arrays[0].offsets, values) if nested else values
    fields = [pa.field(name, array.type, nullable=False) for name, array in columns.items()]
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))


def _mean_logits(exact: NDArray[np.float64], shares: NDArray[np.float64], mean: Mean) -> NDArray[np.float32]:
    """Weighted mean over the members `[M, n]`: `[n]`; NaN where a member has none."""
    if mean == "logits":
        return (shares @ exact).astype(np.float32)
    probability = np.clip(shares @ (1 / (1 + np.exp(-exact))), _CLIP, 1 - _CLIP)
    return (np.log(probability) - np.log1p(-probability)).astype(np.float32)


def _side_by_side(vectors: Sequence[pa.Array]) -> pa.Array:
    values = [v.flatten().to_numpy().reshape(len(v), v.type.list_size) for v in vectors]
    joined = np.concatenate(values, axis=1)
    return pa.FixedSizeListArray.from_arrays(pa.array(joined.reshape(-1)), joined.shape[1])
