"""Keys, labels, scores and sides by names and values."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from distill.data.propose.keys import is_split, is_time, item_key, stage_values, time_key, user_key
from distill.data.propose.labels import comes_with, is_score, label_kind, only_where, score_kind, task_of_score
from distill.data.propose.sides import Groups, side_of
from distill.data.propose.values import Values, groups_of
from distill.schema import Side

NOW = datetime(2025, 3, 1)


def of(**columns: list[object]) -> dict[str, Values]:
    return {name: Values(name, pa.array(values)) for name, values in columns.items()}


def test_keys_are_the_likeliest_names_with_several_values() -> None:
    columns = of(device_id=["a", "b"], member_id=[1, 2], user_id=[1, 1], category_id=[3, 4], doc_id=[1, 2], ad=[5, 6])
    assert user_key(columns) == "member_id"  # one user only, of whom nothing differs, is not a key
    assert item_key(columns) == "doc_id"
    assert user_key(of(price=[1, 2])) is None


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("x", [NOW, None], True),
        ("ts", [1_740_000_000, 1_740_000_100], True),
        ("event_time", [1_740_000_000_123], True),
        ("dt", [20250301, 20250302], True),
        ("price", [1_740_000_000], False),
        ("read_time", [17, 30], False),
        ("ts", [1.5e9 + 0.5], False),
        ("x", ["2025-03-01"], False),
    ],
)
def test_times(name: str, values: list[object], expected: bool) -> None:
    assert is_time(Values(name, pa.array(values))) is expected


def test_the_time_of_rows_is_not_that_of_a_release() -> None:
    days = [NOW, NOW + timedelta(days=1)]
    assert time_key(of(release_date=days, ts=[1_740_000_000, 1_740_000_100])) == "ts"
    assert time_key(of(release_date=days)) == "release_date"
    assert time_key(of(logged=[NOW, NOW])) is None
    assert (
        time_key(of(date=[20250301, 20250301, 20250302], time_ms=[1_740_000_000_000 + i for i in range(3)]))
        == "time_ms"
    )


def test_the_day_of_the_folders_gives_way_to_a_time_of_that_day() -> None:
    times = [NOW + timedelta(hours=9 * i) for i in range(6)]
    days = [time.date() for time in times]
    assert time_key(of(dt=days, shown_at=times)) == "shown_at"
    assert time_key(of(dt=days, logged_in=[time - timedelta(days=3) for time in times])) == "dt"


def test_stages_are_a_few_known_words() -> None:
    known = {"shown": "exposed", "ranked": "ranked"}
    assert stage_values(of(state=["shown", "ranked", "other"])["state"]) == known
    assert stage_values(of(color=["red", "shown"])["color"]) is None
    assert stage_values(of(stage=["red", "shown"])["stage"]) == {"shown": "exposed"}


def test_split_columns_name_all_three() -> None:
    assert is_split(of(x=["train", "val", "test", "train"])["x"])
    assert not is_split(of(x=["train", "test"])["x"])


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("click", [0, 1, None], "binary"),
        ("isPurchased", [True, False], "binary"),
        ("conversion", [0, 0], "binary"),
        ("is_new", [0, 1], None),
        ("click_before", [0, 1], None),
        ("hist_click", [0, 1], None),
        ("relevance", [0, 1, 2, 4], "graded"),
        ("rating", [0.5, 5.0, 3.5], "value"),
        ("rating", [1.0, 5.0, 3.0], "graded"),
        ("avg_rating", [1, 2, 5], None),
        ("label", [0, 400], None),
        ("clicks", [0, 1, 17], None),
        ("click", ["0", "1"], None),
    ],
)
def test_labels(name: str, values: list[object], expected: str | None) -> None:
    assert label_kind(Values(name, pa.array(values))) == expected


def test_scores_of_a_ranker() -> None:
    columns = of(
        prod_ctr=[0.1, 0.2, 0.9], click_logit=[0.1, 0.5, 0.7], score=[-3.0, 0.5, 7.0], ctr=[1, 2, 3], x=[0.1, 0.2, 0.3]
    )
    assert [name for name, one in columns.items() if is_score(one)] == ["prod_ctr", "click_logit", "score"]
    assert [score_kind(columns[name]) for name in ("prod_ctr", "click_logit", "score")] == [
        "probability",
        "logit",
        "logit",
    ]
    assert [task_of_score(name, ["like", "click", "buy"]) for name in ("p_ctr", "pcvr", "score")] == [
        "click",
        "buy",
        "like",
    ]


def test_a_label_that_needs_another() -> None:
    columns = of(click=[1, 1, 0], buy=[1, 0, 0], like=[0, 0, 1], never=[0, 0, 0])
    assert only_where(columns["buy"], columns["click"])
    assert not only_where(columns["like"], columns["click"])
    assert not only_where(columns["never"], columns["click"])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([9.5] * 10 + [None] * 20, True),
        ([9] * 20 + [0] * 10, True),
        ([9] * 20 + [1] + [0] * 9, False),
        ([9] * 9 + [0] * 21, False),
        (["a"] * 20 + [""] * 5 + [None] * 5, True),
        ([True] * 20 + [False] * 10, True),
        ([float("nan")] * 30, False),
    ],
)
def test_what_is_there_only_with_a_label_tells_it(values: list[object], expected: bool) -> None:
    task = Values("buy", pa.array([1] * 20 + [0] * 10))
    assert comes_with(Values("amount", pa.array(values)), task) is expected
    assert not comes_with(Values("amount", pa.array(values)), Values("buy", pa.array([0] * 30)))


def test_sides() -> None:
    request, item = np.repeat(np.arange(20), 3), np.tile(np.arange(3), 20)
    groups = Groups(groups_of(pa.array(request)), False, groups_of(pa.array(item)))
    assert side_of(pa.array(request % 7), groups) == (Side.REQUEST, "one value in each request")
    assert side_of(pa.array(item * 2), groups) == (Side.CANDIDATE, "one value for each item")
    one_off = item.copy()
    one_off[-1] = 9  # 1 of 57 rows of an item that was there: 1.8 %
    assert side_of(pa.array(one_off), groups)[0] is Side.CANDIDATE
    both = np.arange(60)
    assert side_of(pa.array(both), groups) == (Side.CROSS, "other values for one item in 100 % of its rows")
    assert side_of(pa.array(both), Groups(groups.request, False, None))[0] is Side.CANDIDATE
    assert side_of(pa.array(both), Groups(None, False, np.arange(60)))[1].startswith("too few items twice")


def test_in_flat_data_what_is_the_same_for_a_user_is_of_the_request() -> None:
    user = np.repeat(np.arange(10), 4)
    assert side_of(pa.array(user), Groups(user, True, None)) == (Side.REQUEST, "one value in each user")
    few = np.arange(40)
    assert side_of(pa.array(few), Groups(few, True, None))[0] is Side.CANDIDATE  # no user is there twice
