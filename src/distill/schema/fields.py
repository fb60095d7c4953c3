"""The fields of a dataset: what one value of each is, and what they must agree in."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Literal

from pydantic import Field, model_validator

from distill.schema.encoding import (
    AnyEncoding,
    HashBuckets,
    Identity,
    PiecewiseLinear,
    QuantileBuckets,
    Standardise,
    Vocabulary,
)
from distill.schema.keys import Model
from distill.schema.made import AnyMade, Source, check_made, making
from distill.schema.side import Side
from distill.schema.tokens import Tokens

MAX_WIDTH = 1 << 16


class Kind(str, Enum):
    """What one value of a field is."""

    ID = "id"
    NUMBER = "number"
    VECTOR = "vector"
    SEQUENCE = "sequence"
    VECTORS = "vectors"
    TEXT = "text"


class Cold(Model):
    """What stands for the ids of a field that the training split does not have, or has too seldom.

    Attributes:
        by: Fields of the same side with an id for each row, coarse ones first. Values that agree in the first of them,
            in the first two, … are groups; an unknown value has the id of the smallest group that is known.
        min_ids: Fewest known values of a group.
    """

    by: tuple[str, ...] = Field(min_length=1)
    min_ids: int = Field(default=1, ge=1)


class FieldSpec(Model):
    """One input of the models.

    Attributes:
        name: Unique name.
        side: Whom it describes.
        kind: id | number | vector | sequence (of ids) | vectors (a sequence of vectors, of the request alone) | text
            (whose tokens are a sequence).
        column: Raw column; `name` if not given, empty of a field that is made.
        made: Of other raw columns, in place of `column`.
        encoding: How it is encoded; vocabulary for ids, sequences, text, standardise for numbers, identity for
            vectors.
        embedding_dim: Width of its embedding; the model's default if not given.
        table: Name of the embedding table and vocabulary, shared by all fields that name it; `name` if not given.
        privileged: Known at training time only.
        max_length: Of a sequence: only the last `max_length` values are kept; of text the first `max_length` tokens.
        width: Of a vector, or of each of a sequence of vectors.
        nan: What a NaN in a number means: an error, or a missing value.
        tokens: Of text: how it is cut into tokens; its `split` alone is enough.
        cold: Of an id with a vocabulary: groups that stand for unknown values; the names of their fields are enough.
        size: Number of ids of the encoded field, reserved ones and groups included, or of bins of a piecewise linear
            number; filled in by `prepare`.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    side: Side
    kind: Kind
    column: str = ""
    made: AnyMade | None = None
    encoding: AnyEncoding = Field(default_factory=Identity)
    embedding_dim: int | None = Field(default=None, ge=1, le=MAX_WIDTH)
    table: str = ""
    privileged: bool = False
    max_length: int | None = Field(default=None, ge=1, le=2**31 - 1)
    width: int | None = Field(default=None, ge=1, le=MAX_WIDTH)
    nan: Literal["error", "missing"] = "error"
    tokens: Tokens | None = None
    cold: Cold | None = None
    size: int | None = Field(default=None, ge=1, le=2**31 - 1)

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        name = filled.get("name", "")
        filled["column"] = filled.get("column") or ("" if filled.get("made") is not None else name)
        filled["table"] = filled.get("table") or name
        kind = filled.get("kind")
        if filled.get("encoding") is None:
            by_kind = {"number": Standardise(), **dict.fromkeys(("id", "sequence", "text"), Vocabulary())}
            filled["encoding"] = by_kind.get(str(getattr(kind, "value", kind)), Identity())
        elif isinstance(filled["encoding"], str):
            filled["encoding"] = {"type": filled["encoding"]}
        if filled.get("tokens") is None and kind in ("text", Kind.TEXT):
            filled["tokens"] = Tokens()
        if isinstance(filled.get("cold"), list | tuple):
            filled["cold"] = {"by": filled["cold"]}
        return filled

    @model_validator(mode="after")
    def _check(self) -> FieldSpec:
        if self.kind is Kind.TEXT and not isinstance(self.encoding, Vocabulary | HashBuckets):
            raise ValueError(f"tokens of text want the encoding vocabulary or hash, not {self.encoding.type!r}")
        if self.tokens is not None and self.kind is not Kind.TEXT:
            raise ValueError("`tokens` belongs to fields of kind text only")
        if self.kind in (Kind.ID, Kind.SEQUENCE) and not self.encoding.makes_ids:
            raise ValueError(f"kind {self.kind.value} wants an encoding that makes ids, not {self.encoding.type!r}")
        if self.has_vectors and not isinstance(self.encoding, Identity):
            raise ValueError(f"a vector is taken as it is: encoding must be identity, not {self.encoding.type!r}")
        if self.has_vectors and self.width is None:
            raise ValueError("a vector needs its `width`")
        if self.width is not None and not self.has_vectors:
            raise ValueError("`width` belongs to vectors only; of an embedding it is `embedding_dim`")
        if self.kind is Kind.VECTORS and self.side is not Side.REQUEST:
            raise ValueError(f"a sequence of vectors (kind vectors) must be of side request, not {self.side.value}")
        if self.max_length is not None and not self.is_sequence:
            raise ValueError("`max_length` belongs to sequences, vectors and text only")
        if self.cold is not None and not (self.kind is Kind.ID and isinstance(self.encoding, Vocabulary)):
            raise ValueError("`cold` belongs to fields of kind id with a vocabulary: others know no unknown values")
        if self.made is not None:
            if self.column:
                raise ValueError("`made` stands in place of `column`: give one of the two")
            check_made(self)
        return self

    @property
    def sources(self) -> tuple[Source, ...]:
        """The raw columns that it is read from."""
        if self.made is not None:
            return self.made.of
        is_list = self.kind is Kind.SEQUENCE or self.has_vectors
        return (Source(column=self.column, side=self.side, list=is_list),)

    @property
    def making(self) -> str:
        """How it is made of raw columns, whatever these are called; empty if it is a column of its own."""
        return "" if self.made is None else making(self.made)

    @property
    def reads_pairs(self) -> bool:
        """Whether it describes candidates and is made of columns of their requests too."""
        return self.side is not Side.REQUEST and any(source.side is Side.REQUEST for source in self.sources)

    @property
    def is_id(self) -> bool:
        """Whether the encoded field is one id per row."""
        return self.encoding.makes_ids and not self.is_sequence

    @property
    def is_sequence(self) -> bool:
        """Whether the encoded field is any number of values per row: ids, or of kind `vectors` vectors."""
        return self.kind in (Kind.SEQUENCE, Kind.VECTORS, Kind.TEXT)

    @property
    def has_vectors(self) -> bool:
        """Whether its values are vectors of its `width`: one per row, or any number."""
        return self.kind in (Kind.VECTOR, Kind.VECTORS)

    @property
    def by_value(self) -> bool:
        """Whether each raw value is an id, rather than a number that is measured."""
        return self.encoding.makes_ids and not isinstance(self.encoding, QuantileBuckets)

    @property
    def is_number(self) -> bool:
        """Whether the encoded field is one float32 per row."""
        return self.kind is Kind.NUMBER and not self.encoding.makes_ids

    @property
    def is_embedded_number(self) -> bool:
        """Whether models give that number a vector."""
        return self.is_number and self.encoding.embeds_number

    @property
    def has_size(self) -> bool:
        """Whether `prepare` fills in a size: of the embedding table, or the number of bins."""
        return self.encoding.makes_ids or (self.is_number and isinstance(self.encoding, PiecewiseLinear))


def source_columns(fields: Iterable[FieldSpec], of_request: bool | None = None) -> list[str]:
    """Lists the raw columns that fields are read from, each once.

    Args:
        fields: Which.
        of_request: Whether columns of requests alone, or of candidates alone, are listed; all if not given.
    """
    sources = (source for spec in fields for source in spec.sources)
    return list(
        dict.fromkeys(s.column for s in sources if of_request is None or (s.side is Side.REQUEST) == of_request)
    )


def check_unique(names: list[str], what: str) -> None:
    """Names are declared once."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} is declared twice; names must be unique")


def check_tables(fields: tuple[FieldSpec, ...]) -> None:
    """Fields that share a table must encode alike and be equally wide."""
    first: dict[str, FieldSpec] = {}
    for spec in fields:
        if not spec.encoding.makes_ids:
            continue
        other = first.setdefault(spec.table, spec)
        if other.encoding != spec.encoding:
            raise ValueError(
                f"fields {other.name!r} and {spec.name!r} share table {spec.table!r} but encode differently"
            )
        if other.tokens != spec.tokens:
            raise ValueError(
                f"fields {other.name!r} and {spec.name!r} share table {spec.table!r} but differ in `tokens`: one value "
                "of the table must mean one thing"
            )
        if other.embedding_dim != spec.embedding_dim:
            raise ValueError(
                f"fields {other.name!r} and {spec.name!r} share table {spec.table!r} but differ in embedding_dim"
            )


def check_cold(fields: tuple[FieldSpec, ...]) -> None:
    """Groups are of fields that each row has, and fields that share a table have the same."""
    known = {f.name: f for f in fields}
    first: dict[str, FieldSpec] = {}
    for spec in (f for f in fields if f.cold is not None):
        assert spec.cold is not None
        check_unique(list(spec.cold.by), f"field {spec.name!r}, cold.by: field")
        for name in spec.cold.by:
            _check_group(spec, name, known.get(name))
        other = first.setdefault(spec.table, spec)
        if _groups(other, known) != _groups(spec, known):
            raise ValueError(f"fields {other.name!r} and {spec.name!r} share table {spec.table!r} but differ in `cold`")


def _groups(spec: FieldSpec, known: dict[str, FieldSpec]) -> tuple[list[str], int]:
    assert spec.cold is not None
    return [known[name].table for name in spec.cold.by], spec.cold.min_ids


def _check_group(spec: FieldSpec, name: str, group: FieldSpec | None) -> None:
    where = f"field {spec.name!r}, cold.by"
    if group is None:
        raise ValueError(f"{where}: there is no field {name!r}")
    if group.side is not spec.side or not group.is_id or isinstance(group.encoding, QuantileBuckets):
        raise ValueError(
            f"{where}: {name!r} must be a field of kind id of the same side ({spec.side.value}), with an id by value"
        )
    if group.table == spec.table:
        raise ValueError(f"{where}: {name!r} has the table of the field itself")
    if group.privileged and not spec.privileged:
        raise ValueError(f"{where}: {name!r} is privileged, so that it is not known where the field is served")
