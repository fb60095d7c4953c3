"""New data under encodings that are there already: as they are, or grown by the values that are new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.data.prepare.membership import grown_members
from distill.encodings import FittedEncodings
from distill.encodings.arrow import Int64
from distill.encodings.numbers import FittedNumber
from distill.encodings.tables import FittedHash, FittedIds, FittedQuantiles, FittedVocabulary, TableEncoder
from distill.encodings.tokens import FittedText, read_text
from distill.errors import DataError
from distill.files import hash_bytes
from distill.schema import FieldSpec, Kind, Schema
from distill.schema.encoding import (
    AutoDis,
    HashBuckets,
    IdentityIds,
    Log,
    PiecewiseLinear,
    QuantileBuckets,
    Vocabulary,
)


@dataclass(frozen=True)
class KnownEncodings:
    """Encodings that data is encoded with, in place of fitting them on it.

    Attributes:
        fitted: The encodings.
        origin: Where they are from, for errors and for the manifest.
        grow: Whether values of the training split that a vocabulary does not know get ids behind those that it has.
        making: Field to how it was made of raw columns (see `FieldSpec.making`).
    """

    fitted: FittedEncodings
    origin: str
    grow: bool = False
    making: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """Hashes them, and whether they grow."""
        return hash_bytes(f"{self.grow} {self.fitted.packed().saved.model_dump_json()}".encode())

    def check(self, schema: Schema) -> None:
        """Refuses a schema with a field that is not among them, or is encoded in another way there.

        Raises:
            DataError: There is one.
        """
        for spec in schema.fields:
            self._check_making(spec)
            found = self._found(spec)
            wanted = _described(spec) + (_groups(schema, spec.table) if spec.encoding.makes_ids else "")
            wanted += self._cut(spec)
            if found != wanted:
                raise DataError(
                    "The encodings do not know this field."
                    if found == _NOTHING
                    else "The encodings encode this field in another way.",
                    where=f"{self.origin}, field {spec.name!r}",
                    expected=wanted,
                    found=found,
                    remedy="Declare the field as it was then, leave it out of the schema, or fit new encodings.",
                )

    def _check_making(self, spec: FieldSpec) -> None:
        if self.making.get(spec.name, spec.making) != spec.making:
            raise DataError(
                "The field of the encodings is made of raw columns in another way.",
                where=f"{self.origin}, field {spec.name!r}, made",
                expected=self.making[spec.name] or "a column of its own",
                found=spec.making or "a column of its own",
                remedy="Declare `made` as it was then; its columns may have other names.",
            )

    def of(self, schema: Schema, fresh: FittedEncodings | None) -> FittedEncodings:
        """Returns the encodings of a schema's fields.

        Args:
            schema: All its fields are known.
            fresh: What the training split of the new data was fitted to; of interest if they are to grow.
        """
        tables = {f.table: self.fitted.tables[f.table] for f in schema.fields if f.encoding.makes_ids}
        numbers = {f.name: self.fitted.numbers[f.name] for f in schema.fields if f.is_number}
        if not self.grow or fresh is None:
            return FittedEncodings(tables, numbers, self.texts(schema))
        limits = {f.table: f.encoding.max_size for f in schema.fields if isinstance(f.encoding, Vocabulary)}
        grown = FittedEncodings(
            {name: _grown(table, fresh.tables[name], limits.get(name)) for name, table in tables.items()},
            numbers,
            self.texts(schema),
        )
        cold = {f.table for f in schema.fields if f.cold is not None}
        members = {name: grown_members(grown, self.fitted, fresh, name) for name in cold}
        return FittedEncodings({**grown.tables, **members}, numbers, grown.texts)

    def texts(self, schema: Schema) -> dict[str, FittedText]:
        """Returns how text of the fields of a schema is cut, which are known."""
        return {f.table: self.fitted.texts[f.table] for f in schema.fields if f.kind is Kind.TEXT}

    def _cut(self, spec: FieldSpec) -> str:
        """Says how the schema cuts the text of a field; its tokenizer may be the very one of the encodings."""
        if spec.tokens is None:
            return ""
        known = self.fitted.texts.get(spec.table)
        own = known if known is not None and spec.tokens == known.saved else read_text(spec)
        return f" of {own}"

    def _found(self, spec: FieldSpec) -> str:
        if spec.encoding.makes_ids:
            table, text = self.fitted.tables.get(spec.table), self.fitted.texts.get(spec.table)
            return _NOTHING if table is None else _of_table(table) + ("" if text is None else f" of {text}")
        if not spec.is_number:
            return "vector"
        number = self.fitted.numbers.get(spec.name)
        return _NOTHING if number is None else _of_number(number)


_NOTHING = "nothing"


def _described(spec: FieldSpec) -> str:
    encoding = spec.encoding
    if isinstance(encoding, HashBuckets):
        return f"hash into {encoding.buckets} buckets"
    if isinstance(encoding, QuantileBuckets):
        return f"{encoding.buckets} quantile buckets"
    if isinstance(encoding, IdentityIds):
        return f"ids below {encoding.size}"
    if isinstance(encoding, Vocabulary):
        return "vocabulary"
    if not spec.is_number:
        return "vector"
    if isinstance(encoding, PiecewiseLinear):
        return f"number among {encoding.bins} bins"
    if isinstance(encoding, AutoDis):
        return "embedded number, log" if encoding.log else "embedded number"
    return "number, log" if isinstance(encoding, Log) else "number"


def _groups(schema: Schema, table: str) -> str:
    """Describes the groups of a table, as the schema says them."""
    for spec in schema.fields:
        if spec.cold is not None and spec.table == table:
            return _cold([other.table for other in schema.groups_of(spec)], spec.cold.min_ids)
    return ""


def _cold(by: Sequence[str], min_ids: int) -> str:
    return f", cold by {' and '.join(by)} from {min_ids} ids"


def _of_table(table: TableEncoder) -> str:
    if isinstance(table, FittedHash):
        return f"hash into {table.buckets} buckets"
    if isinstance(table, FittedQuantiles):
        return f"{table.buckets} quantile buckets"
    if isinstance(table, FittedIds):
        return f"ids below {table.count}"
    groups = table.groups if isinstance(table, FittedVocabulary) else None
    return "vocabulary" if groups is None else "vocabulary" + _cold(groups.by, groups.min_ids)


def _of_number(number: FittedNumber) -> str:
    if number.bins is not None:
        return f"number among {number.bins} bins"
    kind = "embedded number" if number.embedded else "number"
    return f"{kind}, log" if number.log else kind


def _grown(old: TableEncoder, fresh: TableEncoder, limit: int | None) -> TableEncoder:
    """Puts the values that are new behind those that are old, in their own order; other encodings do not grow."""
    if not isinstance(old, FittedVocabulary) or not isinstance(fresh, FittedVocabulary) or len(fresh.values) == 0:
        return old
    if len(old.values) == 0:
        return replace(fresh, groups=old.groups)
    if old.kind != fresh.kind:
        return old  # the first row that is encoded raises, and says where
    is_new = pc.invert(pc.is_in(fresh.values, value_set=old.values))
    values, counts = fresh.values.filter(is_new), fresh.counts[is_new.to_numpy(zero_copy_only=False)]
    room = len(values) if limit is None else max(0, limit - len(old.values))
    seen = np.concatenate([_with_counts(old, fresh), counts[:room]])
    return FittedVocabulary(pa.concat_arrays([old.values, values.slice(0, room)]), seen, old.groups)


def _with_counts(old: FittedVocabulary, fresh: FittedVocabulary) -> Int64:
    """Adds how often old values were seen in the new data."""
    position = pc.index_in(old.values, value_set=fresh.values)
    found = position.is_valid().to_numpy(zero_copy_only=False)
    counts: Int64 = old.counts.copy()
    counts[found] += fresh.counts[position.drop_null().to_numpy(zero_copy_only=False)]
    return counts
