"""Text is cut as the schema says: whole columns and single texts alike, and as the plainest code does it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.encodings import FittedEncodings, SideArrays
from distill.encodings.place import Place
from distill.encodings.rows import NotPlainError, RowEncoder
from distill.encodings.tables import FittedHash, FittedVocabulary
from distill.encodings.tokens import LONGEST, FittedText, token_counts
from distill.errors import DataError
from distill.schema import FieldSpec, Tokens
from tests.encodings.texts import TEXTS, tokens_of

SETTINGS: list[dict[str, Any]] = [
    {"split": "words"},
    {"split": "words", "ngram_range": [1, 2]},
    {"split": "words", "ngram_range": [2, 3], "lowercase": False},
    {"split": "words", "strip_accents": True},
    {"split": "whitespace"},
    {"split": "whitespace", "ngram_range": [1, 3]},
    {"split": "characters"},
    {"split": "characters", "ngram_range": [2, 5], "strip_accents": True},
]
COLUMNS = st.lists(st.one_of(st.none(), TEXTS), max_size=8)


def spec_of(tokens: Any, **changes: Any) -> FieldSpec:
    return FieldSpec.model_validate({"name": "title", "side": "request", "kind": "text", "tokens": tokens, **changes})


def cut_whole(tokens: Tokens, texts: list[str], most: int | None = None) -> list[list[str]]:
    values, lengths = FittedText(tokens).split(pa.array(texts, pa.string()), most)
    values.validate(full=True)
    parts = iter(values.to_pylist())
    return [[next(parts) for _ in range(length)] for length in lengths]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@given(texts=st.lists(TEXTS, max_size=6), most=st.one_of(st.none(), st.integers(1, 4)))
@settings(max_examples=20)
def test_columns_and_texts_are_cut_as_plain_code_does(
    setting: dict[str, Any], texts: list[str], most: int | None
) -> None:
    tokens = Tokens.model_validate(setting)
    wanted = [tokens_of(text, tokens)[:most] for text in texts]
    assert cut_whole(tokens, texts, most) == wanted
    assert [FittedText(tokens).split_one(text, most) for text in texts] == wanted


@pytest.mark.slow
@given(
    texts=st.lists(TEXTS, max_size=9),
    setting=st.sampled_from(SETTINGS),
    most=st.one_of(st.none(), st.integers(1, 9)),
)
@settings(max_examples=3000, deadline=None)
def test_columns_and_texts_are_cut_as_plain_code_does_many(
    texts: list[str], setting: dict[str, Any], most: int | None
) -> None:
    tokens = Tokens.model_validate(setting)
    wanted = [tokens_of(text, tokens)[:most] for text in texts]
    assert cut_whole(tokens, texts, most) == wanted
    assert [FittedText(tokens).split_one(text, most) for text in texts] == wanted


@pytest.mark.parametrize(
    ("setting", "text", "wanted"),
    [
        ({"split": "words"}, "Red, RED\u3000shoes (size_9)!", ["red", "red", "shoes", "size_9"]),
        ({"split": "words"}, "Cafe\u0301 ＡＢＣ ﬁne", ["café", "abc", "fine"]),
        ({"split": "words", "strip_accents": True}, "Crème brûlée", ["creme", "brulee"]),
        ({"split": "words", "lowercase": False}, "Red Shoes", ["Red", "Shoes"]),
        ({"split": "words", "ngram_range": [1, 2]}, "new york city", ["new", "new york", "york", "york city", "city"]),
        ({"split": "words", "ngram_range": [2, 2]}, "paris", ["paris"]),
        ({"split": "whitespace"}, "C++ -5 👍", ["c++", "-5", "👍"]),
        ({"split": "characters"}, "Good é", ["<go", "goo", "ood", "od>", "<é>"]),
        ({"split": "characters", "ngram_range": [4, 5]}, "ab", ["<ab>"]),
        ({"split": "words"}, " \n ", []),
    ],
)
def test_text_is_cut_as_documented(setting: dict[str, Any], text: str, wanted: list[str]) -> None:
    assert cut_whole(Tokens.model_validate(setting), [text]) == [wanted]


@given(column=COLUMNS, as_dictionary=st.booleans(), setting=st.sampled_from(SETTINGS), hashed=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_column_is_encoded_as_its_texts_are(
    column: list[str | None], as_dictionary: bool, setting: dict[str, Any], hashed: bool
) -> None:
    encoding = {"type": "hash", "buckets": 50} if hashed else "vocabulary"
    spec = spec_of(setting, max_length=5, encoding=encoding)
    tokens = spec.tokens
    assert tokens is not None
    known = sorted({token for text in column[::2] for token in tokens_of(text or "", tokens)})
    vocabulary = FittedVocabulary(pa.array(known, pa.string()), np.ones(len(known), np.int64))
    table = FittedHash(50, "string") if hashed else vocabulary
    fitted = FittedEncodings({"title": table}, {}, {"title": FittedText(tokens)})
    array = pa.array(column, pa.string())
    encoded = fitted.encode(spec, array.dictionary_encode() if as_dictionary else array, Place("title", "field"))
    assert encoded.missing.tolist() == [row for row, text in enumerate(column) if text is None]
    rows = encoded.array.to_pylist()
    assert encoded.oov.tolist() == [row for row, ids in enumerate(rows) for one in ids if one == 1]
    one_by_one = RowEncoder([spec], fitted)
    for text, ids in zip(column, rows, strict=True):
        wanted = table.encode(pa.array(tokens_of(text or "", tokens)[:5], pa.string()), Place("", ""), "error")
        assert ids == wanted.tolist()
        assert one_by_one.encode({"title": text}).sequences["title"][0].tolist() == ids


def test_tokens_are_counted_once_for_each_row_with_their_text() -> None:
    column = pa.array(["a b", "b", None, "a b", ""])
    text = FittedText(Tokens())
    counted: dict[str, int] = {}
    for tokens, counts in token_counts(text, column, None, Place("", "")):
        for token, count in zip(tokens.to_pylist(), counts.tolist(), strict=True):
            counted[token] = counted.get(token, 0) + count
    assert counted == {"a": 2, "b": 3}


def test_long_columns_are_cut_in_pieces_with_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("characters", encoding={"type": "hash", "buckets": 1000})
    assert spec.tokens is not None
    fitted = FittedEncodings({"title": FittedHash(1000, "string")}, {}, {"title": FittedText(spec.tokens)})
    column = pa.array([f"title number {i} é" * (i % 7) for i in range(300)])
    whole = fitted.encode(spec, column, Place("", "")).array
    monkeypatch.setattr("distill.encodings.tokens._PIECE", 256)
    assert fitted.encode(spec, column, Place("", "")).array == whole


def test_what_is_no_text_is_refused_with_its_place() -> None:
    spec = spec_of("words")
    fitted = FittedEncodings({"title": FittedHash(9, "string")}, {}, {"title": FittedText(Tokens())})
    with pytest.raises(DataError, match=r"(?s)row 1, column 'title'.*1,048,577 bytes") as long:
        fitted.encode(spec, pa.array(["a", "b" * (LONGEST + 1)]), Place("title", "field 'title'"))
    assert long.value.remedy is not None
    with pytest.raises(DataError, match="holds no text"):
        fitted.encode(spec, pa.array([["a"]]), Place("title", "field 'title'"))
    rows = RowEncoder([spec], fitted)
    for value in (["a"], 5, "\ud800", "b" * (LONGEST + 1)):
        with pytest.raises(NotPlainError):
            rows.encode({"title": value})


def test_a_column_of_nulls_is_missing() -> None:
    spec = spec_of("words")
    fitted = FittedEncodings({"title": FittedHash(9, "string")}, {}, {"title": FittedText(Tokens())})
    encoded = fitted.encode(spec, pa.nulls(2), Place("title", "field 'title'"))
    assert encoded.array.to_pylist() == [[], []]
    assert encoded.missing.tolist() == [0, 1]
    assert isinstance(SideArrays.of([spec], {"title": encoded}, 2), SideArrays)
