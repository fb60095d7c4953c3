"""Names of columns as words, and what these mean."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data.propose.words import ITEM, REQUEST, SHOWN, USER, is_outcome, names_key, words
from distill.schema.names import field_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("search_id", ["search", "id"]),
        ("articleIds_inview", ["article", "id", "inview"]),
        ("userId", ["user", "id"]),
        ("USERID", ["user", "id"]),
        ("qid", ["q", "id"]),
        ("c10", ["c", "10"]),
        ("is_paid", ["is", "paid"]),
        ("prix-moyén", ["prix", "moyén"]),
        ("", []),
    ],
)
def test_names_are_split_into_words(name: str, expected: list[str]) -> None:
    assert words(name) == expected


@pytest.mark.parametrize(
    ("name", "entities", "beside", "expected"),
    [
        ("search_id", REQUEST, (), "search"),
        ("qid", REQUEST, (), "q"),
        ("impression_time", REQUEST, (), None),
        ("q", REQUEST, (), None),
        ("userId", USER, (), "user"),
        ("user_age", USER, (), None),
        ("item_id", ITEM, SHOWN, "item"),
        ("movieId", ITEM, SHOWN, "movie"),
        ("article_ids_inview", ITEM, SHOWN, "article"),
        ("item_category_id", ITEM, SHOWN, None),
        ("article_ids_clicked", ITEM, SHOWN, None),
        ("id", ITEM, SHOWN, None),
    ],
)
def test_keys_are_known_by_their_names(
    name: str, entities: tuple[str, ...], beside: tuple[str, ...], expected: str | None
) -> None:
    assert names_key(name, entities, beside) == (None if expected is None else entities.index(expected))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dwell_ms", True),
        ("watch_time", True),
        ("read_time", True),
        ("position", True),
        ("next_read_time", True),
        ("duration", False),
        ("price", False),
        ("release_time", False),
        ("read_count", False),
    ],
)
def test_outcomes_are_known_by_their_names(name: str, expected: bool) -> None:
    assert is_outcome(name) is expected


@given(st.lists(st.text(max_size=80), max_size=8))
def test_every_column_gets_a_field_name_of_its_own(columns: list[str]) -> None:
    names: list[str] = []
    for column in columns:
        names.append(field_name(column, names))
    assert len(set(names)) == len(columns)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) for name in names)


def test_a_good_name_stays() -> None:
    assert field_name("price_2", []) == "price_2"
    assert field_name("1 € prix", []) == "f_1_prix"
    assert field_name("price_2", ["price_2"]) == "price_2_2"
