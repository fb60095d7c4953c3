"""What fitted encodings are on disk: plain data, a file for each vocabulary and tokenizer. They have an identity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from distill.errors import DataError
from distill.files import below, hash_bytes
from distill.schema import NUM_RESERVED, FieldSpec, Kind, Tokens
from distill.schema.encoding import MAX_IDS

_OF_PIECES = ("bins", "boundaries")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SavedGroups(_Model):
    """Groups of the values of a vocabulary; the ids that make them are columns of its file.

    Attributes:
        by: Names of the tables of these ids.
        min_ids: Fewest values of a group.
        members: Hash of the ids.
    """

    by: tuple[str, ...] = Field(min_length=1)
    min_ids: int = Field(ge=1)
    members: str


class SavedVocabulary(_Model):
    """A vocabulary, in a file of its own.

    Attributes:
        file: Its path below the folder that holds the encodings.
        blake2b: Hash of the file.
        size: Number of ids, reserved ones and groups included.
        values: Hash of the values in the order of their ids, whatever file they are in.
        groups: What stands for unknown values.
    """

    type: Literal["vocabulary"] = "vocabulary"
    file: Annotated[str, AfterValidator(below)]
    blake2b: str
    size: int = Field(ge=NUM_RESERVED)
    values: str
    groups: SavedGroups | None = None

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out groups that are not there: what has none is written, and known, as ever."""
        content: dict[str, Any] = serialise(self)
        return {name: value for name, value in content.items() if name != "groups" or value is not None}


class SavedHash(_Model):
    """Hash buckets, and the type of the values that are hashed."""

    type: Literal["hash"] = "hash"
    buckets: int = Field(ge=1, le=MAX_IDS)
    values: Literal["int", "string"]

    @property
    def size(self) -> int:
        """Number of ids, reserved ones included."""
        return self.buckets + NUM_RESERVED


class SavedQuantiles(_Model):
    """Quantile buckets and their boundaries."""

    type: Literal["quantile"] = "quantile"
    buckets: int = Field(ge=1)
    boundaries: tuple[float, ...]

    @property
    def size(self) -> int:
        """Number of ids, reserved ones included."""
        return self.buckets + NUM_RESERVED


class SavedIds(_Model):
    """Integers below `count` that are used as they are."""

    type: Literal["ids"] = "ids"
    count: int = Field(ge=1, le=MAX_IDS)

    @property
    def size(self) -> int:
        """Number of ids, reserved ones included."""
        return self.count + NUM_RESERVED


class SavedNumber(_Model):
    """What a number is scaled by, or the boundaries that it is placed among; see `FittedNumber`."""

    log: bool
    shift: float
    scale: float
    fill: float
    bins: int | None = Field(default=None, ge=1)
    boundaries: tuple[float, ...] = ()

    @property
    def size(self) -> int | None:
        """Number of bins; None of what is scaled."""
        return len(self.boundaries) - 1 if self.boundaries else None

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out boundaries that are not there: what has none is written, and known, as ever."""
        content: dict[str, Any] = serialise(self)
        return {name: value for name, value in content.items() if self.boundaries or name not in _OF_PIECES}


class SavedText(_Model):
    """How the text of the fields of a table is cut.

    Attributes:
        tokens: As the schema says; the tokenizer is a path below the folder that holds the encodings.
        blake2b: Hash of the tokenizer's file.
    """

    tokens: Tokens
    blake2b: str | None = None

    @model_validator(mode="after")
    def _check(self) -> SavedText:
        if self.tokens.tokenizer is not None:
            below(self.tokens.tokenizer)
        if (self.tokens.tokenizer is None) != (self.blake2b is None):
            raise ValueError("a tokenizer has a file and its hash")
        return self


SavedTable = Annotated[
    Union[SavedVocabulary, SavedHash, SavedQuantiles, SavedIds],  # noqa: UP007
    Field(discriminator="type"),
]


class SavedEncodings(_Model):
    """Fitted encodings as plain data.

    Attributes:
        tables: Table name to the encoding of all fields that share it.
        numbers: Field name to what it is scaled by.
        texts: Table name to how the text of its fields is cut.
    """

    tables: dict[str, SavedTable] = Field(default_factory=dict)
    numbers: dict[str, SavedNumber] = Field(default_factory=dict)
    texts: dict[str, SavedText] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out texts where there are none: such encodings are written, and known, as ever."""
        content: dict[str, Any] = serialise(self)
        return {name: value for name, value in content.items() if name != "texts" or value}

    @classmethod
    def parse(cls, text: str, where: str) -> SavedEncodings:
        """Reads what `model_dump_json` wrote.

        Raises:
            DataError: The text is something else.
        """
        try:
            return cls.model_validate_json(text)
        except (ValidationError, RecursionError) as error:
            raise DataError(
                "The encodings cannot be read.", where=where, found=" ".join(str(error).split())[:300]
            ) from error

    @property
    def files(self) -> dict[str, str]:
        """Path of each vocabulary's and each tokenizer's file to its hash."""
        vocabularies = {t.file: t.blake2b for t in self.tables.values() if isinstance(t, SavedVocabulary)}
        tokenizers = {t.tokens.tokenizer: t.blake2b for t in self.texts.values() if t.tokens.tokenizer and t.blake2b}
        return {**vocabularies, **tokenizers}

    def of(self, fields: Sequence[FieldSpec]) -> SavedEncodings:
        """Returns the encodings of some fields only."""
        tables = {f.table for f in fields if f.encoding.makes_ids}
        numbers = {f.name for f in fields if f.is_number}
        return SavedEncodings(
            tables={name: table for name, table in self.tables.items() if name in tables},
            numbers={name: number for name, number in self.numbers.items() if name in numbers},
            texts={name: text for name, text in self.texts.items() if name in tables},
        )

    def knows(self, spec: FieldSpec) -> bool:
        """Whether there is an encoding of a field; a vector needs none."""
        if spec.encoding.makes_ids:
            table = self.tables.get(spec.table)
            if (spec.kind is Kind.TEXT) != (spec.table in self.texts):
                return False
            return table is not None and (spec.cold is None or getattr(table, "groups", None) is not None)
        return not spec.is_number or spec.name in self.numbers

    def size_of(self, spec: FieldSpec) -> int | None:
        """Returns the number of ids of a field, or of bins of a piecewise linear number; None of what has neither.

        Args:
            spec: A field that is known.
        """
        if spec.encoding.makes_ids:
            return self.tables[spec.table].size
        return self.numbers[spec.name].size if spec.is_number else None

    def identity(self, spec: FieldSpec) -> str:
        """Hashes what decides the encoded value of every raw value of a field (32 hex digits).

        The names of its column and table, counts and the files' bytes do not.

        Args:
            spec: A field that is known.
        """
        content: dict[str, Any] = {"kind": spec.kind.value, "max_length": spec.max_length, "width": spec.width}
        if spec.made is not None:
            content["made"] = spec.making
        if spec.encoding.makes_ids:
            content["table"] = self._content(spec.table)
            table = self.tables[spec.table]
            if spec.kind is Kind.TEXT:
                text = self.texts[spec.table]
                content["text"] = [text.tokens.model_dump(mode="json", exclude={"tokenizer"}), text.blake2b]
            if spec.cold is not None and isinstance(table, SavedVocabulary) and table.groups is not None:
                content["by"] = [self._content(name) for name in table.groups.by]
        elif spec.is_number:
            content["number"] = self.numbers[spec.name].model_dump()
        return hash_bytes(json.dumps(content, sort_keys=True).encode())

    def _content(self, table: str) -> dict[str, Any]:
        content = self.tables[table].model_dump(exclude={"file", "blake2b"})
        if "groups" in content:
            content["groups"] = {**content["groups"], "by": len(content["groups"]["by"])}  # not what they are called
        return content

    def fingerprint(self, fields: Sequence[FieldSpec]) -> str:
        """Hashes the identities of fields, in their order (32 hex digits)."""
        return hash_bytes(json.dumps([(f.name, f.side.value, self.identity(f)) for f in fields]).encode())


def differing(
    fields: Sequence[FieldSpec], own: SavedEncodings, others: Sequence[FieldSpec], of_others: SavedEncodings
) -> list[str]:
    """Names the fields that other data encodes in another way, or does not have.

    Args:
        fields: That a model reads.
        own: Their encodings.
        others: Fields of the data.
        of_others: Their encodings.
    """
    known = {f.name: f for f in others}
    return [
        f.name
        for f in fields
        if f.name not in known
        or known[f.name].side is not f.side
        or own.identity(f) != of_others.identity(known[f.name])
    ]
