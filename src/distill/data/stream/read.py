"""Reads units of Parquet files into a block; columns go straight from Arrow buffers into preallocated matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow as pa

from distill.data.checked_file import CheckedFile
from distill.data.format import ITEM_KEY, REQUEST_KEY, STAGE, USER_KEY, field_column, hidden_column, value_column
from distill.data.stream.arrays import Array
from distill.data.stream.block import Block, RaggedBlock, SideBlock
from distill.data.stream.cells import Cells
from distill.data.stream.columns import (
    check_finite,
    check_ids,
    fill_matrix,
    flat_values,
    plain,
    single_array,
    split_lists,
    unnest,
    vectors,
)
from distill.data.stream.index import SplitIndex
from distill.data.stream.layout import ReadLayout, SideLayout
from distill.data.stream.packing import Ints
from distill.data.stream.plan import Unit, block_lengths
from distill.data.stream.signals import as_signal_error
from distill.errors import DataError, SignalError
from distill.schema import Side


@dataclass(frozen=True)
class _Rows:
    """Consecutive requests of one table, and their places in the block."""

    table: pa.Table
    where: str
    lengths: Ints
    nested: bool
    requests: slice
    candidates: slice

    def per_request(self, name: str) -> pa.Array:
        return single_array(self.table, name, self.where)

    def per_candidate(self, name: str) -> pa.Array:
        array = single_array(self.table, name, self.where)
        return unnest(array, self.lengths, self.place(name)) if self.nested else array

    def place(self, name: str) -> str:
        return f"{self.where}, column {name}"


def read_block(
    index: SplitIndex, layout: ReadLayout, units: tuple[Unit, ...], seen: set[tuple[int, int]] | None = None
) -> Block:
    """Reads a block.

    Args:
        index: The split.
        layout: What to read of it.
        units: Sorted by part and row group; each row group is read once.
        seen: Part and row group of what was read with this layout before: its values are not looked at again, since its
            checksums say that they are the same. Those that are read now are added.

    Raises:
        DataError: A file cannot be read, or its columns are not what the format says.
        SignalError: The same of a signal file.
    """
    lengths = block_lengths(index, units)
    buffers = _BlockBuffers(layout, lengths)
    request = candidate = 0
    for (part, group), members in groupby(units, key=lambda unit: (unit.part, unit.group)):
        file = index.parts[part].file
        data = file.read(group, layout.columns.names, layout.checked)
        if layout.checked and (seen is None or (part, group) not in seen):
            check_values(data, layout, f"{file.path}, row group {group}")
            if seen is not None:
                seen.add((part, group))
        signals = None if layout.sidecar is None else _read_signals(layout.sidecar.files[part], group, layout)
        first = int(index.parts[part].group_starts[group])
        for unit in members:
            count = unit.stop - unit.start
            of_unit = lengths[request : request + count]
            total = int(of_unit.sum())
            places = slice(request, request + count), slice(candidate, candidate + total)
            where = f"{file.path}, row group {group}"
            rows = _Rows(data.slice(unit.start - first, count), where, of_unit, layout.nested, *places)
            buffers.fill(rows, index.parts[part].row(unit.start))
            if signals is not None and layout.sidecar is not None:
                where = f"{layout.sidecar.files[part].path}, row group {group}"
                scored = _Rows(signals.slice(unit.start - first, count), where, of_unit, layout.nested, *places)
                _fill_signals(buffers, scored)
            request, candidate = request + count, candidate + total
    return buffers.finish()


def check_values(table: pa.Table, layout: ReadLayout, where: str) -> None:
    """Looks at the fields of a row group: ids lie in their tables, numbers are finite.

    Raises:
        DataError: One does not.
    """
    for side in layout.sides.values():
        for name, size in {**side.ids, **side.sequences}.items():
            column = field_column(name)
            check_ids(flat_values(table, column, where), size, f"{where}, column {column}")
        for name in (*side.numbers, *side.vectors, *side.vector_lists):
            column = field_column(name)
            check_finite(flat_values(table, column, where), f"{where}, column {column}")


class _SideBuffers:
    """Fields of one side, filled unit by unit."""

    def __init__(self, side: Side, layout: SideLayout, cells: Cells) -> None:
        rows = len(cells.matrix)
        self.layout = layout
        self.ids = cells.ids(f"{side.value}.ids")
        self.numbers = cells.numbers(f"{side.value}.numbers")
        self.vectors = {name: np.empty((rows, width), np.float32) for name, width in layout.vectors.items()}
        lists = (*layout.sequences, *layout.vector_lists)
        self.sequences: dict[str, list[tuple[Ints, Array]]] = {name: [] for name in lists}

    def fill(self, rows: slice, get: Callable[[str], pa.Array], place: Callable[[str], str]) -> None:
        fill_matrix(self.ids[rows], [plain(get(field_column(name))) for name in self.layout.ids])
        fill_matrix(self.numbers[rows], [plain(get(field_column(name))) for name in self.layout.numbers])
        for name, width in self.layout.vectors.items():
            column = field_column(name)
            self.vectors[name][rows] = vectors(get(column), width, place(column))
        for name, pieces in self.sequences.items():
            column = field_column(name)
            lengths, values = split_lists(get(column), place(column))
            wide = self.layout.vector_lists.get(name)
            pieces.append((lengths, plain(values) if wide is None else vectors(values, wide, place(column))))

    def finish(self) -> SideBlock:
        sequences = {}
        for name, pieces in self.sequences.items():
            lengths = np.concatenate([lengths for lengths, _ in pieces])
            values = np.concatenate([values for _, values in pieces])
            sequences[name] = RaggedBlock(values, _ends(lengths))
        return SideBlock(vectors=self.vectors, sequences=sequences)


class _BlockBuffers:
    """Arrays of a block, filled unit by unit."""

    def __init__(self, layout: ReadLayout, lengths: Ints) -> None:
        requests, candidates = lengths.size, int(lengths.sum())
        self.layout = layout
        self.lengths = lengths
        targets = {"labels": len(layout.labels), "values": len(layout.values)}
        if layout.has_signals:
            targets["logits"] = len(layout.labels)
        self.request = Cells.empty(requests, 2, _field_cells(layout, Side.REQUEST))
        fields = {**_field_cells(layout, Side.CANDIDATE), **_field_cells(layout, Side.CROSS)}
        self.candidate = Cells.empty(candidates, 3, {**fields, **targets})
        self.sides = {
            side: _SideBuffers(side, fields, self.request if side is Side.REQUEST else self.candidate)
            for side, fields in layout.sides.items()
        }
        self.hidden = {name: np.empty((candidates, width), np.float32) for name, width in layout.hidden.items()}

    def fill(self, rows: _Rows, first_row: int) -> None:
        at = rows.candidates
        keys = [plain(rows.per_request(name)) for name in (REQUEST_KEY, USER_KEY)]
        fill_matrix(self.request.key_columns[rows.requests], keys)
        positions = np.arange(first_row, first_row + at.stop - at.start)
        keys = [plain(rows.per_candidate(name)) for name in (ITEM_KEY, STAGE)]
        fill_matrix(self.candidate.key_columns[at], [*keys, positions])
        for side, buffers in self.sides.items():
            of_request = side is Side.REQUEST
            get = rows.per_request if of_request else rows.per_candidate
            buffers.fill(rows.requests if of_request else at, get, rows.place)
        labels = [plain(rows.per_candidate(name)) for name in self.layout.labels]
        fill_matrix(self.candidate.numbers("labels")[at], labels)
        values = [plain(rows.per_candidate(value_column(name))) for name in self.layout.values]
        fill_matrix(self.candidate.numbers("values")[at], values)
        if self.layout.teacher:
            self.fill_signals(rows)

    def fill_signals(self, rows: _Rows) -> None:
        at = rows.candidates
        none = np.full(at.stop - at.start, np.nan, np.float32)
        logits = [none if name is None else plain(rows.per_candidate(name)) for name in self.layout.logits]
        fill_matrix(self.candidate.numbers("logits")[at], logits)
        for name, target in self.hidden.items():
            column = hidden_column(name)
            target[at] = vectors(rows.per_candidate(column), target.shape[1], rows.place(column))

    def finish(self) -> Block:
        return Block(
            request=self.request,
            candidate=self.candidate,
            sides={side: buffers.finish() for side, buffers in self.sides.items()},
            ends=_ends(self.lengths) if self.layout.nested else None,
            hidden=self.hidden,
            unscored=self.layout.unscored,
            weight=self.layout.weight,
        )


def _field_cells(layout: ReadLayout, side: Side) -> dict[str, int]:
    return {f"{side.value}.ids": len(layout.sides[side].ids), f"{side.value}.numbers": len(layout.sides[side].numbers)}


def _fill_signals(buffers: _BlockBuffers, rows: _Rows) -> None:
    try:
        buffers.fill_signals(rows)
    except DataError as error:
        raise as_signal_error(error) from error
    _check_finite(buffers, rows)


def _check_finite(buffers: _BlockBuffers, rows: _Rows) -> None:
    """Raises SignalError for what is infinite, and for a NaN in a hidden vector of a row that the teacher scored."""
    logits = buffers.candidate.numbers("logits")[rows.candidates]
    scored = ~np.isnan(logits).any(axis=1)
    bad = {"a logit": np.isinf(logits).any(axis=1)}
    for name, values in buffers.hidden.items():
        bad[hidden_column(name)] = scored & ~np.isfinite(values[rows.candidates]).all(axis=1)
    for name, mask in bad.items():
        if mask.any():
            raise SignalError(
                "A teacher signal is not finite.",
                where=f"{rows.where}, candidate {int(mask.argmax())} of those read, {name}",
                expected="finite numbers; a NaN logit where the teacher did not score",
                remedy="Score this dataset again with a teacher whose outputs are finite.",
            )


def _read_signals(file: CheckedFile, group: int, layout: ReadLayout) -> pa.Table:
    names = layout.sidecar.columns.names if layout.sidecar is not None else []
    try:
        return file.read(group, names, layout.checked)
    except DataError as error:
        raise as_signal_error(error) from error


def _ends(lengths: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
