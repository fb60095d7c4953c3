"""The fitted encodings of a dataset: save, load, and apply to new data exactly as training did."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.encodings.arrow import Int64, from_lengths, to_plain
from distill.encodings.groups import FittedGroups, Int32
from distill.encodings.hashing import hash_values
from distill.encodings.lists import check_lists, to_ragged, to_vector_lists, to_vectors
from distill.encodings.made import read_field
from distill.encodings.numbers import FittedNumber
from distill.encodings.packed import PackedEncodings
from distill.encodings.place import Place
from distill.encodings.saved import (
    SavedEncodings,
    SavedGroups,
    SavedHash,
    SavedIds,
    SavedNumber,
    SavedQuantiles,
    SavedTable,
    SavedText,
    SavedVocabulary,
)
from distill.encodings.tables import FittedHash, FittedIds, FittedQuantiles, FittedVocabulary, TableEncoder
from distill.encodings.tokens import ENCODINGS, FittedText, encode_text
from distill.errors import DataError
from distill.files import hash_bytes
from distill.schema import OOV_ID, FieldSpec, Kind, Schema, Side

_LONGEST_NAME = 200


@dataclass(frozen=True)
class EncodedField:
    """An encoded column.

    Attributes:
        array: `[n]`, of the type that `format.field_type` says.
        missing: Row of each missing value.
        oov: Row of each value out of vocabulary, whether or not a group stands for it.
        grouped: Row of each value that a group stands for.
    """

    array: pa.Array
    missing: Int64
    oov: Int64
    grouped: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))


RawColumn = tuple[FieldSpec, pa.Array, Place]
"""A field, its plain raw column `[n]` and the place of that."""


@dataclass(frozen=True)
class FittedEncodings:
    """Everything that was learnt from the training split.

    Attributes:
        tables: Table name to the encoder of all fields that share it.
        numbers: Field name to the encoder of a number.
        texts: Table name to how the text of its fields is cut.
    """

    tables: Mapping[str, TableEncoder]
    numbers: Mapping[str, FittedNumber]
    texts: Mapping[str, FittedText] = field(default_factory=dict)

    def apply(self, table: pa.Table, fields: Sequence[FieldSpec]) -> pa.Table:
        """Encodes raw columns of fields, one row of the table per row of their side.

        Args:
            table: Holds the raw columns of every field.
            fields: What to encode.

        Returns:
            One column per field, named as it is and typed as in the prepared dataset.

        Raises:
            DataError: A column is missing or does not hold what the field says.
        """

        def find(column: str, _: Side, use: str) -> tuple[pa.Array, Place]:
            if column not in table.column_names:
                raise DataError(
                    "A raw column is missing.",
                    where=f"column {column!r} ({use})",
                    found=f"columns {', '.join(table.column_names)}",
                )
            return to_plain(table[column]), Place(column, use)

        rows = np.arange(len(table))
        columns: dict[str, RawColumn] = {spec.name: (spec, *read_field(spec, find, rows)) for spec in fields}
        groups = {f.name: [columns[name] for name in f.cold.by] if f.cold is not None else [] for f in fields}
        return pa.table({name: self.encode(*column, groups[name]).array for name, column in columns.items()})

    def encode(self, spec: FieldSpec, array: pa.Array, place: Place, by: Sequence[RawColumn] = ()) -> EncodedField:
        """Encodes the column of one field.

        Args:
            spec: The field.
            array: Plain raw column `[n]`.
            place: Of the array.
            by: Of a field that is `cold`: the columns of the fields of its groups (see `Schema.groups_of`), in order.

        Raises:
            DataError: The column does not hold what the field says.
        """
        nothing = np.zeros(0, np.int64)
        if spec.kind is Kind.TEXT:
            text, table = self.texts[spec.table], self.tables[spec.table]
            return EncodedField(*encode_text(text, table, array, spec.max_length, place))
        if spec.kind is Kind.SEQUENCE or spec.has_vectors:
            check_lists(array, place)
        if spec.kind is Kind.VECTOR:
            vectors, missing = to_vectors(array, spec.width or 0, place, spec.nan)
            return EncodedField(vectors, missing, nothing)
        if spec.kind is Kind.VECTORS:
            lists, missing = to_vector_lists(array, spec.width or 0, spec.max_length, place, spec.nan)
            return EncodedField(lists, missing, nothing)
        if spec.kind is Kind.SEQUENCE:
            values, lengths, missing = to_ragged(array, spec.max_length)
            ids = self.tables[spec.table].encode(values, place.nested(lengths), spec.nan)
            rows = np.repeat(np.arange(len(lengths)), lengths)
            return EncodedField(from_lengths(pa.array(ids), lengths), missing, rows[ids == OOV_ID])
        if spec.encoding.makes_ids:
            ids = self.tables[spec.table].encode(array, place, spec.nan)
            unknown, grouped = np.flatnonzero(ids == OOV_ID), np.zeros(0, np.int64)
            if spec.cold is not None:
                ids, grouped = self._with_groups(spec, ids, unknown, by)
            return EncodedField(pa.array(ids), np.flatnonzero(ids == 0), unknown, grouped)
        numbers, missing = self.numbers[spec.name].encode(array, place, spec.nan)
        return EncodedField(pa.array(numbers), missing, nothing)

    def _with_groups(self, spec: FieldSpec, ids: Int32, unknown: Int64, by: Sequence[RawColumn]) -> tuple[Int32, Int64]:
        """Gives values that are unknown the ids of their groups; says of which rows a group is known."""
        vocabulary = self.tables[spec.table]
        assert spec.cold is not None
        assert isinstance(vocabulary, FittedVocabulary)
        groups = vocabulary.groups
        assert groups is not None
        assert [other.name for other, _, _ in by] == list(spec.cold.by), spec.name
        if len(unknown) == 0:
            return ids, unknown
        columns = [
            self.tables[other.table].encode(array.take(pa.array(unknown)), place.rows(unknown), other.nan)
            for other, array, place in by
        ]
        found = groups.find(np.stack(columns, axis=1))
        grouped = unknown[found >= 0]
        ids = ids.copy()
        ids[grouped] = vocabulary.first_group + found[found >= 0]
        return ids, grouped

    def sized(self, schema: Schema) -> Schema:
        """Returns the schema with the number of ids, or of bins, of every field filled in, and tokenizers where the
        encodings keep them."""
        return schema.model_copy(update={"fields": tuple(map(self._sized, schema.fields))})

    def _sized(self, spec: FieldSpec) -> FieldSpec:
        if spec.encoding.makes_ids:
            tokens = self.texts[spec.table].saved if spec.kind is Kind.TEXT else None
            return spec.model_copy(update={"size": self.tables[spec.table].size, "tokens": tokens})
        boundaries = self.numbers[spec.name].boundaries if spec.is_number else ()
        return spec.model_copy(update={"size": len(boundaries) - 1}) if boundaries else spec

    def save(self, root: Path) -> SavedEncodings:
        """Writes vocabularies to `root/encodings/<table>.parquet` and tokenizers beside them, and returns the rest."""
        packed = self.packed()
        (root / ENCODINGS).mkdir(parents=True, exist_ok=True)
        packed.write(root)
        return packed.saved

    def packed(self) -> PackedEncodings:
        """Returns the encodings as plain data and bytes."""
        files: dict[str, bytes] = {}
        tables = {name: _pack(name, encoder, files) for name, encoder in self.tables.items()}
        numbers = {name: SavedNumber(**asdict(number)) for name, number in self.numbers.items()}
        texts = {name: SavedText(tokens=t.saved, blake2b=t.digest or None) for name, t in self.texts.items()}
        files |= {t.file: t.content for t in self.texts.values() if t.file is not None and t.content is not None}
        return PackedEncodings(SavedEncodings(tables=tables, numbers=numbers, texts=texts), files)

    @classmethod
    def load(cls, root: Path, saved: SavedEncodings) -> FittedEncodings:
        """Reads back what `save` wrote.

        Args:
            root: The dataset, or any folder that holds a copy of its `encodings/`.
            saved: `encodings` of the manifest.

        Raises:
            DataError: A vocabulary is missing or is not the one that was fitted.
        """
        return cls.unpacked(PackedEncodings.read(root, saved))

    @classmethod
    def unpacked(cls, packed: PackedEncodings) -> FittedEncodings:
        """Undoes `packed`."""
        tables = {name: _unpack(entry, packed.files) for name, entry in packed.saved.tables.items()}
        numbers = {
            name: FittedNumber(n.log, n.shift, n.scale, n.fill, n.bins, n.boundaries)
            for name, n in packed.saved.numbers.items()
        }
        texts = {
            name: FittedText(
                text.tokens, None if text.tokens.tokenizer is None else packed.files[text.tokens.tokenizer]
            )
            for name, text in packed.saved.texts.items()
        }
        return cls(tables, numbers, texts)


def _file_name(table: str) -> str:
    """Names the file of a vocabulary: the quoted table, or its hash where file systems would refuse the length."""
    quoted = quote(table, safe="")
    return quoted if len(quoted) <= _LONGEST_NAME else hashlib.blake2b(table.encode(), digest_size=16).hexdigest()


def _pack(name: str, encoder: TableEncoder, files: dict[str, bytes]) -> SavedTable:
    if isinstance(encoder, FittedVocabulary):
        path = f"{ENCODINGS}/{_file_name(name)}.parquet"
        groups = encoder.groups
        columns = {} if groups is None else {f"by_{i}": pa.array(ids) for i, ids in enumerate(groups.of_value.T)}
        table = pa.table({"value": encoder.values, "count": pa.array(encoder.counts), **columns})
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd")
        files[path] = buffer.getvalue().to_pybytes()
        values = hash_bytes(encoder.kind.encode() + hash_values(encoder.values).tobytes())
        return SavedVocabulary(
            file=path,
            blake2b=hash_bytes(files[path]),
            size=encoder.size,
            values=values,
            groups=None if groups is None else _pack_groups(groups),
        )
    if isinstance(encoder, FittedHash):
        return SavedHash(buckets=encoder.buckets, values=encoder.kind)
    if isinstance(encoder, FittedQuantiles):
        return SavedQuantiles(buckets=encoder.buckets, boundaries=tuple(encoder.boundaries.tolist()))
    assert isinstance(encoder, FittedIds)
    return SavedIds(count=encoder.count)


def _unpack(entry: SavedTable, files: Mapping[str, bytes]) -> TableEncoder:
    if isinstance(entry, SavedHash):
        return FittedHash(entry.buckets, entry.values)
    if isinstance(entry, SavedQuantiles):
        return FittedQuantiles(entry.buckets, np.asarray(entry.boundaries, np.float64))
    if isinstance(entry, SavedIds):
        return FittedIds(entry.count)
    table = pq.read_table(pa.BufferReader(files[entry.file]))
    counts = table["count"].to_numpy().astype(np.int64)
    return FittedVocabulary(to_plain(table["value"]), counts, _unpack_groups(entry.groups, table))


def _pack_groups(groups: FittedGroups) -> SavedGroups:
    content = np.ascontiguousarray(groups.of_value, "<i4").tobytes()
    return SavedGroups(by=groups.by, min_ids=groups.min_ids, members=hash_bytes(content))


def _unpack_groups(entry: SavedGroups | None, table: pa.Table) -> FittedGroups | None:
    if entry is None:
        return None
    columns = [table[f"by_{i}"].to_numpy().astype(np.int32) for i in range(len(entry.by))]
    return FittedGroups(entry.by, entry.min_ids, np.stack(columns, axis=1))
