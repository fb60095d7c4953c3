"""Raw text as tokens, and these as ids: each distinct text of a column is cut once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import Int64, family, from_lengths, is_text, null_mask
from distill.encodings.cut import cut, cut_ascii, normalised
from distill.encodings.place import Place
from distill.encodings.subwords import MAX_BYTES, SubwordTokenizer
from distill.encodings.tables import TableEncoder
from distill.encodings.values import first
from distill.errors import DataError, SchemaError
from distill.files import hash_bytes
from distill.schema import OOV_ID, FieldSpec, Tokens

ENCODINGS = "encodings"
LONGEST = 1 << 20
"""Most bytes of one text."""
_PIECE = 1 << 22  # bytes of text that are cut at once


@dataclass(frozen=True)
class FittedText:
    """How the text of the fields of a table is cut.

    Attributes:
        tokens: As the schema says.
        content: Of the tokenizer's file, of subwords.
    """

    tokens: Tokens
    content: bytes | None = None

    @property
    def file(self) -> str | None:
        """Path of the tokenizer's file below the folder of the encodings: it is named by its content."""
        return None if self.content is None else f"{ENCODINGS}/tokenizer-{self.digest}.json"

    @property
    def digest(self) -> str:
        """Hash of the tokenizer's file; empty without one."""
        return "" if self.content is None else hash_bytes(self.content)

    @property
    def saved(self) -> Tokens:
        """How it is cut, with the path of the tokenizer below the folder of the encodings."""
        return self.tokens.model_copy(update={"tokenizer": self.file})

    def __str__(self) -> str:
        """Says how text is cut, in a few words."""
        tokens = self.tokens
        if tokens.ngram_range is None:
            return f"{tokens.split} of the tokenizer {self.digest}"
        accents = ", strip_accents" if tokens.strip_accents else ""
        letters = ", lowercase" if tokens.lowercase else ""
        return f"{tokens.split} {list(tokens.ngram_range)}{letters}{accents}"

    @cached_property
    def subwords(self) -> SubwordTokenizer | None:
        """The tokenizer; None without one.

        Raises:
            ConfigError: The package that it needs is not installed.
            DataError: It cannot be used.
        """
        return None if self.content is None else SubwordTokenizer(self.content, "the tokenizer of the encodings")

    def __getstate__(self) -> dict[str, Any]:
        """Sends the tokenizer's file to other processes, which read it themselves."""
        return {"tokens": self.tokens, "content": self.content}

    def load(self) -> None:
        """Reads the tokenizer now: what is wrong with it is said before it is needed. See `subwords`."""
        _ = self.subwords

    def split(self, texts: pa.Array, most: int | None) -> tuple[pa.Array, Int64]:
        """Cuts text without nulls `[n]`; see `cut`."""
        if self.subwords is None:
            return cut(normalised(texts, self.tokens), self.tokens, most)
        found = [parts[:most] for parts in self.subwords.split(texts.to_pylist())]
        values = pa.array([token for parts in found for token in parts], pa.string())
        return values, np.array([len(parts) for parts in found], np.int64)

    def split_one(self, text: str, most: int | None) -> list[str]:
        """Cuts one text, as `split` does a column."""
        if self.subwords is not None:
            return self.subwords.split([text])[0][:most]
        if text.isascii():
            return cut_ascii(text, self.tokens)[:most]
        found: list[str] = self.split(pa.array([text], pa.string()), most)[0].to_pylist()
        return found


def read_text(spec: FieldSpec) -> FittedText:
    """Returns how the text of a field is to be cut, with the content of the tokenizer that the schema names.

    Raises:
        SchemaError: The tokenizer's file cannot be read.
        ConfigError: The package that it needs is not installed.
        DataError: It is not a tokenizer.
    """
    assert spec.tokens is not None
    if spec.tokens.tokenizer is None:
        return FittedText(spec.tokens)
    path = Path(spec.tokens.tokenizer).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SchemaError(
            "The tokenizer of a field cannot be read.",
            where=f"field {spec.name!r}, tokens.tokenizer",
            expected="a tokenizer.json, relative to the file of the schema",
            found=f"{path}: {error.strerror}",
        ) from error
    SubwordTokenizer(content, f"field {spec.name!r}, tokens.tokenizer: {path}")
    return FittedText(spec.tokens, content)


@dataclass(frozen=True)
class _Distinct:
    """The distinct texts of a column of n rows.

    Attributes:
        texts: Without nulls `[d]`.
        codes: Number of the text of each row `[n]`, −1 of null.
    """

    texts: pa.Array
    codes: Int64

    @classmethod
    def of(cls, array: pa.Array, place: Place) -> _Distinct:
        """Finds the distinct texts.

        Raises:
            DataError: The column holds something else, or a text is too long.
        """
        if family(array.type) == "null":
            return cls(pa.array([], pa.string()), np.full(len(array), -1, np.int64))
        if not is_text(array.type):
            raise DataError("This column holds no text.", where=place.at(0), expected="text", found=family(array.type))
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        codes = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
        texts = encoded.dictionary
        used = np.bincount(codes[codes >= 0], minlength=len(texts)) > 0
        if not used.all():
            codes = np.where(codes >= 0, (np.cumsum(used) - 1)[codes], -1)
            texts = texts.filter(pa.array(used))
        sizes = pc.binary_length(texts).to_numpy(zero_copy_only=False)
        if (long := first(sizes > LONGEST)) >= 0:
            raise DataError(
                "A text is too long.",
                where=place.at(int(np.argmax(codes == long))),
                expected=f"at most {LONGEST:,} bytes",
                found=f"{sizes[long]:,} bytes",
                remedy="Cut the text before: its first words tell most.",
            )
        return cls(texts, codes)

    def pieces(self, text: FittedText, most: int | None) -> Iterator[tuple[slice, pa.Array, Int64]]:
        """Cuts the texts, some at a time; yields which, their tokens, and how many each has."""
        low, high = text.tokens.ngram_range or (1, 1)
        budget = _PIECE // ((high - low + 1) * (4 if text.tokens.split == "characters" else 1))
        ends = np.cumsum(pc.binary_length(self.texts).to_numpy(zero_copy_only=False), dtype=np.int64)
        start = 0
        while start < len(ends):
            before = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + budget, side="right")))
            piece = slice(start, stop)
            yield piece, *text.split(self.texts.slice(start, stop - start), most)
            start = stop


def token_counts(text: FittedText, array: pa.Array, most: int | None, place: Place) -> Iterator[tuple[pa.Array, Int64]]:
    """Yields the tokens of a raw column `[n]`, and how many rows have the text that each is of.

    Raises:
        DataError: The column holds no text, or one that is too long.
    """
    distinct = _Distinct.of(array, place)
    seen = np.bincount(distinct.codes[distinct.codes >= 0], minlength=len(distinct.texts))
    for piece, tokens, lengths in distinct.pieces(text, most):
        yield tokens, np.repeat(seen[piece], lengths)


def encode_text(
    text: FittedText, encoder: TableEncoder, array: pa.Array, most: int | None, place: Place
) -> tuple[pa.Array, Int64, Int64]:
    """Encodes a raw column of text `[n]`.

    Args:
        text: How it is cut.
        encoder: Of the table of tokens.
        array: Text, plain or as a dictionary.
        most: Only so many first tokens of a text are kept.
        place: Of the array.

    Returns:
        Lists of ids `[n]`, the row of each null, and the row of each token out of vocabulary.

    Raises:
        DataError: The column holds no text, or one that is too long.
    """
    distinct = _Distinct.of(array, place)
    counts, ids = np.zeros(len(distinct.texts), np.int64), [np.zeros(0, np.int32)]
    for piece, tokens, lengths in distinct.pieces(text, most):
        counts[piece] = lengths
        ids.append(encoder.encode(tokens, place, "error"))
    known = distinct.codes >= 0
    codes = np.where(known, distinct.codes, 0)
    sizes = np.where(known, counts[codes], 0) if len(counts) else np.zeros(len(codes), np.int64)
    begins = (np.cumsum(counts) - counts)[codes] if len(counts) else sizes
    ends = np.cumsum(sizes)
    places = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(begins - (ends - sizes), sizes)
    spread = np.concatenate(ids)[places]
    rows = np.repeat(np.arange(len(sizes)), sizes)
    return from_lengths(pa.array(spread), sizes), np.flatnonzero(null_mask(array)), rows[spread == OOV_ID]
