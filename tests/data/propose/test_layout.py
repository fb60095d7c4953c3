"""Whether rows are requests with lists, candidates of requests, or impressions."""

from __future__ import annotations

import pyarrow as pa
import pytest

from distill.data.propose.layout import find_layout, request_like
from distill.data.propose.values import Values

ITEMS = [[4, 5], [6], [7, 8, 9]]
CLICKS = [[0, 1], [1], [0, 0, 0]]


def test_lists_as_long_as_the_labels_are_candidates() -> None:
    columns = {
        "req_id": [1, 2, 3],
        "sku": ITEMS,
        "click": CLICKS,
        "hist_sku": [[1, 2], [3], [4, 5, 6]],
        "tags": [[1]] * 3,
    }
    found = find_layout({name: pa.array(values) for name, values in columns.items()})
    assert (found.shape, found.request, found.lists) == ("requests", "req_id", ("sku", "click"))


def test_lists_that_were_shown_are_candidates_without_labels() -> None:
    found = find_layout({"ids_inview": pa.array(ITEMS), "ids_clicked": pa.array([[5], [6], [7]])})
    assert (found.shape, found.request, found.lists) == ("requests", None, ("ids_inview",))


def test_a_label_of_the_row_says_that_lists_are_no_candidates() -> None:
    columns = {"shown_items": pa.array(ITEMS), "click": pa.array([0, 1, 0])}
    assert find_layout(columns).shape == "flat"


def test_a_key_with_several_rows_each_makes_pairs() -> None:
    rows = {"impression_id": pa.array(range(6)), "session_id": pa.array([1, 1, 1, 2, 2, 3]), "x": pa.array([1.0] * 6)}
    found = find_layout(rows)
    assert (found.shape, found.request) == ("pairs", "session_id")
    assert find_layout(rows | {"search_id": rows["session_id"]}).request == "search_id"


@pytest.mark.parametrize("key", [[1, 2, 3, 4, 5, 6, 7, 8, 9, 9], [1] * 8])
def test_a_key_that_hardly_groups_or_names_one_group_makes_no_requests(key: list[int]) -> None:
    assert find_layout({"search_id": pa.array(key)}).shape == "flat"


def test_a_key_that_repeats_names_no_requests_of_one_row() -> None:
    found = find_layout({"session_id": pa.array([1, 1, 2]), "sku": pa.array(ITEMS), "click": pa.array(CLICKS)})
    assert (found.shape, found.request) == ("requests", None)


def test_columns_that_may_group_rows_fill_a_run_with_each_value() -> None:
    runs, torn, own = [1, 1, 2, 2, 3, 3, 4, 4, 5, 5], [1, 1, 2, 2, 3, 3, 4, 4, 5, 1], list(range(10))
    columns = {name: Values(name, pa.array(v)) for name, v in (("runs", runs), ("torn", torn), ("own", own))}
    assert request_like(columns) == ["runs"]
