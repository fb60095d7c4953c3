"""The synthetic cascade: what the log holds, and that nothing in it comes from the future."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.funnel import FunnelSource, source
from distill.data.funnel.behaviour import behave
from distill.data.funnel.cascade import Requests, StageSizes, run_cascade
from distill.data.funnel.drift import Drift
from distill.data.funnel.state import UserState
from distill.data.funnel.world import make_world
from distill.data.prepare import prepare
from distill.data.split import ColumnSplit
from distill.errors import ConfigError

FINGERPRINT = "3f38ea5fb2504c2795e4143eb76fd2a8"
TINY = FunnelSource(
    requests=120,
    warmup=0,
    users=12,
    items=60,
    categories=5,
    brands=6,
    min_candidates=16,
    max_candidates=24,
    preranked=12,
    ranked=8,
    exposed=4,
    max_history=3,
    days=2,
)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_REQUESTS", 16)


def read(config: FunnelSource) -> list[dict[str, Any]]:
    return pa.concat_tables(list(config.tables(config.world()))).to_pylist()


def test_each_stage_passes_on_its_number_of_distinct_candidates() -> None:
    sizes = set()
    for row in read(TINY):
        stage = np.array(row["stage"])
        assert [(stage >= least).sum() for least in (1, 2, 3)] == [12, 8, 4]
        assert len(set(row["item_id"])) == stage.size
        sizes.add(stage.size)
    assert min(sizes) == 16
    assert max(sizes) == 24


def test_every_item_is_a_candidate_when_all_are_recalled() -> None:
    for row in read(replace(TINY, items=24, min_candidates=24)):
        assert sorted(row["item_id"]) == list(range(1, 25))


def test_nulls_are_where_the_platform_does_not_know() -> None:
    for row in read(TINY):
        unseen = [stage < 3 for stage in row["stage"]]
        for column in ("click", "like", "purchase", "dwell"):
            assert [value is None for value in row[column]] == unseen
        assert all((value is None) == (row["split"] != "test") for value in row["utility"])


def test_likes_and_purchases_follow_clicks() -> None:
    labels = [label for row in read(TINY) for label in zip(row["click"], row["like"], row["purchase"], strict=True)]
    assert {(1, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 0)} < set(labels)
    assert not {(0, 1, 0), (0, 0, 1), (0, 1, 1)} & set(labels)


def test_time_never_goes_back_and_orders_the_splits() -> None:
    rows = read(TINY)
    times = [row["time"] for row in rows]
    assert times == sorted(times)
    assert [row["split"] for row in rows] == ["train"] * 96 + ["val"] * 12 + ["test"] * 12
    assert all(row["hour"] == row["time"] // 3600 % 24 for row in rows)
    assert times[-1] - times[0] < 2 * 86_400


@pytest.mark.usefixtures("small_blocks")
def test_counters_and_histories_hold_earlier_blocks_only() -> None:
    seen: dict[tuple[int, int], int] = defaultdict(int)
    clicked: dict[tuple[int, int], int] = defaultdict(int)
    liked: dict[int, list[int]] = defaultdict(list)
    rows = read(TINY)
    longest = 0
    for start in range(0, len(rows), 16):
        block = rows[start : start + 16]
        for row in block:
            user = row["user_id"]
            assert row["history"] == liked[user][-3:]
            longest = max(longest, len(liked[user]))
            for category, count, ctr in zip(
                row["category"], row["user_category_count"], row["user_category_ctr"], strict=True
            ):
                pair = (user, category)
                assert count == clicked[pair]
                assert ctr == pytest.approx((clicked[pair] + 0.75) / (seen[pair] + 5), rel=1e-6)
        for row in block:
            columns = ("item_id", "category", "click", "like")
            for item, category, click, like in zip(*(row[name] for name in columns), strict=True):
                pair = (row["user_id"], category)
                seen[pair] += click is not None
                clicked[pair] += click == 1
                if like == 1:
                    liked[row["user_id"]].append(item)
    assert longest > 3


def test_warmup_fills_histories_before_the_first_request() -> None:
    assert all(row["history"] == [] for row in read(TINY)[:16])
    assert any(row["history"] for row in read(replace(TINY, warmup=64))[:16])


def test_state_keeps_the_last_likes_when_a_block_brings_more_than_fit() -> None:
    state = UserState(2, 1, 3)
    zero, one = np.zeros(5, dtype=np.int64), np.ones(5, dtype=np.int64)
    state.update(np.array([1, 0, 1, 1, 1]), np.arange(10, 15), zero, one, one)
    items, lengths = state.histories(np.array([0, 1, 0]))
    assert lengths.tolist() == [1, 3, 1]
    assert items.tolist() == [11, 12, 13, 14, 11]
    state.update(np.array([1]), np.array([99]), zero[:1], one[:1], one[:1])
    assert state.histories(np.array([1]))[0].tolist() == [13, 14, 99]


def test_behaviour_equals_the_formula_of_one_pair() -> None:
    world = make_world(3, num_users=4, num_items=9, num_categories=3, num_brands=2)
    user, device, hour, item = 2, 1, 13, 7
    got = behave(world, np.array([user]), np.array([device]), np.array([hour]), np.array([[item]]))
    users, items = world.users, world.items
    category = items.category[item]
    latent = float(users.latent[user] @ items.latent[item]) / math.sqrt(8)
    group = world.group_taste[users.age[user], users.gender[user], category]
    interest = 0.5 * latent + 0.6 * users.taste[user, category] + 0.8 * group
    fit = 1 - min(math.log(items.price[item] / users.budget[user]) ** 2, 4)
    moment = world.period_taste[device, 3, category]
    click = 1 / (1 + math.exp(4.5 - interest - 0.8 * moment - 0.8 * fit - 0.3 * items.quality[item]))
    like = 1 / (1 + math.exp(1.0 - 0.7 * interest - 0.5 * items.quality[item]))
    purchase = 1 / (1 + math.exp(1.8 - 0.8 * fit - 0.3 * interest - 0.3 * items.quality[item]))
    assert got.click[0, 0] == pytest.approx(click, rel=1e-5)
    score = click * (click * like) ** 0.2 * (click * purchase) ** 0.2
    assert got.utility[0, 0] == pytest.approx(math.log(score), rel=1e-5)


def test_clicks_follow_the_true_chance_and_the_position() -> None:
    world = make_world(0, num_users=50, num_items=300, num_categories=6, num_brands=9)
    rng = np.random.default_rng(0)
    size = 4000
    requests = Requests(
        user=rng.integers(50, size=size),
        device=rng.integers(3, size=size),
        time=np.arange(size),
        hour=rng.integers(24, size=size),
    )
    outcome = run_cascade(world, requests, StageSizes((60, 60), 40, 20, 10), rng)
    shown = outcome.position >= 0
    assert (outcome.click[~shown] == 0).all()
    for place in (0, 9):
        at = outcome.position == place
        expected = outcome.behaviour.click[at].mean() / (1 + 0.05 * place)
        assert outcome.click[at].mean() == pytest.approx(expected, abs=4 * math.sqrt(0.25 / size))
    utility = outcome.behaviour.utility
    means = [utility[outcome.stage == stage].mean() for stage in range(4)]
    assert means == sorted(means)


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name, config in (("a", TINY), ("b", replace(TINY)), ("c", replace(TINY, seed=1))):
        config.write_raw(tmp_path / name)
    for file in ("requests.parquet", "items.parquet"):
        first, same, other = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert first == same
        assert first != other
    assert TINY.fingerprint() == replace(TINY).fingerprint() != replace(TINY, seed=1).fingerprint()


@pytest.mark.usefixtures("small_blocks")
def test_the_log_is_written_block_by_block(tmp_path: Path) -> None:
    raw = TINY.write_raw(tmp_path)
    assert raw.split == ColumnSplit("split")
    assert pq.ParquetFile(raw.files[0]).metadata.num_row_groups == 8
    assert raw.items is not None
    assert pq.read_table(raw.items)["item_id"].to_pylist() == list(range(1, 61))


def test_it_can_be_prepared(tmp_path: Path) -> None:
    dataset = prepare(TINY.write_raw(tmp_path / "raw"), tmp_path / "ready", progress=False)
    assert sum(part.rows for part in dataset.parts("train")) == 96
    assert sum(part.candidates for part in dataset.parts("test")) == sum(len(row["stage"]) for row in read(TINY)[108:])
    assert {field.name for field in dataset.schema.fields if field.privileged} == {"dwell"}
    assert dataset.schema.field("history").size == dataset.schema.field("item_id").size


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"exposed": 9}, "16 24"),
        ({"exposed": 0}, "0 8"),
        ({"min_candidates": 30}, "30 24"),
        ({"items": 20}, "24 20"),
        ({"users": 0}, "users=0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"val": 0.0}, "val=0.0"),
        ({"val": 0.6, "test": 0.4}, "test=0.4"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, float], place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        replace(TINY, **change)  # type: ignore[arg-type]


def test_a_day_holds_the_same_rows_whatever_else_is_written(small_blocks: None) -> None:
    whole = replace(TINY, drift=0.1, arrivals=0.3, days=4)
    day = replace(whole, only_days=(2, 2))
    rows, (start, length) = read(whole), (source._LOG_START, source._DAY)
    assert read(day) == [row for row in rows if (row["time"] - start) // length == 2]
    assert len(read(day)) == 30
    assert whole.fingerprint() != day.fingerprint() != TINY.fingerprint()


def test_items_arrive_and_tastes_wander(small_blocks: None) -> None:
    changing = replace(TINY, drift=0.2, arrivals=0.5, days=4)
    rows = read(changing)
    newest = [max(row["item_id"]) for row in rows]
    assert max(newest[:16]) <= 30
    assert max(newest[-16:]) > 50
    world, change = replace(TINY, users=500).world(), Drift(0.2, 0.5, 4, 0)
    days = [world]
    for day in range(1, 40):
        days.append(change.next_day(days[-1], day))
    tastes = [day.users.taste for day in days]
    assert np.corrcoef(tastes[0].ravel(), tastes[1].ravel())[0, 1] == pytest.approx(0.8**0.5, abs=0.05)
    assert abs(np.corrcoef(tastes[0].ravel(), tastes[-1].ravel())[0, 1]) < 0.2
    assert tastes[-1].std() == pytest.approx(tastes[0].std(), rel=0.3)
    assert change.next_day(world, 1).users.taste.tolist() == tastes[1].tolist()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"drift": 1.0}, "data.adapter.drift"),
        ({"arrivals": 0.9}, "data.adapter.arrivals"),
        ({"only_days": (1, 0)}, "data.adapter.only_days"),
        ({"only_days": (0, 2)}, "data.adapter.only_days"),
    ],
)
def test_changes_that_cannot_be(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as error:
        replace(TINY, **change)
    assert error.value.where == where


def test_a_log_without_changes_has_the_identity_that_it_had() -> None:
    """Prepared datasets and caches of before stay valid."""
    assert FunnelSource().fingerprint() == FINGERPRINT
