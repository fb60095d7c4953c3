"""The synthetic log as Arrow tables: one row per request, and the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError

from distill.data.funnel.behaviour import SCORE_POWERS
from distill.data.funnel.cascade import Outcome, Requests
from distill.data.funnel.state import UserState
from distill.data.funnel.world import AGES, DEVICES, GENDERS, Ints, World
from distill.errors import SchemaError
from distill.schema import Cold, FieldSpec, Keys, Kind, Schema, Score, Side, StageKey, Task
from distill.schema.encoding import IdentityIds, Log, QuantileBuckets, Standardise, Vocabulary

UTILITY = "utility"
SPLIT = "split"
FIRST_ID = 1


def funnel_schema(name: str, max_history: int, cold: Sequence[str] = (), min_count: int = 1) -> Schema:
    """Returns the schema of the synthetic log; see `FunnelSource`.

    Raises:
        SchemaError: The items cannot be grouped like this.
    """
    try:
        return _schema(name, max_history, cold, Vocabulary(min_count=min_count))
    except ValidationError as error:
        raise SchemaError(
            "The items cannot be grouped like this.",
            where="data.adapter.cold, data.adapter.min_count",
            expected="cold: [category, brand] or one of them; min_count of at least 1",
            found=f"cold: {list(cold)}, min_count: {min_count}",
        ) from error


def _schema(name: str, max_history: int, cold: Sequence[str], items: Vocabulary) -> Schema:
    request, candidate, cross = Side.REQUEST, Side.CANDIDATE, Side.CROSS
    number = Kind.NUMBER
    return Schema(
        name=name,
        layout="requests",
        keys=Keys(request="request_id", user="user_id", item="item_id", time="time", stage=StageKey(column="stage")),
        fields=(
            _id("user_id", request),
            _id("age", request),
            _id("gender", request),
            _id("city", request),
            _id("device", request),
            FieldSpec(name="hour", side=request, kind=Kind.ID, encoding=IdentityIds(size=24)),
            FieldSpec(name="budget", side=request, kind=number, encoding=Log()),
            FieldSpec(
                name="budget_band", side=request, kind=number, column="budget", encoding=QuantileBuckets(buckets=10)
            ),
            FieldSpec(
                name="history",
                side=request,
                kind=Kind.SEQUENCE,
                encoding=items,
                table="item_id",
                max_length=max_history,
            ),
            FieldSpec(
                name="item_id",
                side=candidate,
                kind=Kind.ID,
                encoding=items,
                cold=Cold(by=tuple(cold)) if cold else None,
            ),
            _id("category", candidate),
            _id("brand", candidate),
            FieldSpec(name="price", side=candidate, kind=number, encoding=Log()),
            FieldSpec(
                name="price_band", side=candidate, kind=number, column="price", encoding=QuantileBuckets(buckets=10)
            ),
            FieldSpec(name="item_ctr", side=candidate, kind=number, encoding=Standardise()),
            FieldSpec(name="item_age", side=candidate, kind=number, encoding=Log()),
            FieldSpec(name="user_category_count", side=cross, kind=number, encoding=Log()),
            FieldSpec(name="user_category_ctr", side=cross, kind=number, encoding=Standardise()),
            FieldSpec(name="dwell", side=cross, kind=number, encoding=Log(), privileged=True),
        ),
        tasks=tuple(Task(name=task, observed="exposed") for task in SCORE_POWERS),
        score=Score(tasks=dict(SCORE_POWERS)),
        evaluation=(UTILITY,),
    )


def _id(name: str, side: Side) -> FieldSpec:
    return FieldSpec(name=name, side=side, kind=Kind.ID, encoding=Vocabulary())


def items_table(world: World) -> pa.Table:
    """Returns the catalogue, one row per item."""
    items = world.items
    every = np.arange(items.category.size)
    return pa.table({"item_id": every + FIRST_ID, **_item_columns(world, every)})


def requests_table(
    world: World,
    state: UserState,
    requests: Requests,
    outcome: Outcome,
    *,
    first_request: int,
    split: NDArray[np.str_],
    dwell: NDArray[np.float32],
) -> pa.Table:
    """Returns one row per request with lists of candidates.

    Args:
        world: The world.
        state: What was known before the first of these requests.
        requests: R requests.
        outcome: What happened to their candidates.
        first_request: Id of the first request.
        split: `[R]` train, val or test; the true utility is written for test only.
        dwell: `[R, N]` seconds, NaN where unknown.
    """
    valid = outcome.valid
    num_candidates = valid.sum(axis=1)
    offsets = pa.array(np.concatenate([[0], np.cumsum(num_candidates)]), pa.int32())
    stage, unseen = outcome.stage[valid], outcome.position[valid] < 0
    of_request, of_candidate = known_columns(world, state, requests, outcome.item, valid)
    candidates = {
        **of_candidate,
        "dwell": _nullable(dwell[valid], unseen),
        "stage": pa.array(stage, pa.int8()),
        "click": _nullable(outcome.click[valid].astype(np.int8), unseen),
        "like": _nullable(outcome.like[valid].astype(np.int8), unseen),
        "purchase": _nullable(outcome.purchase[valid].astype(np.int8), unseen),
        UTILITY: _nullable(outcome.behaviour.utility[valid], np.repeat(split != "test", num_candidates)),
    }
    return pa.table(
        {
            "request_id": first_request + np.arange(requests.user.size),
            "time": requests.time,
            SPLIT: pa.array(split).dictionary_encode(),
            **of_request,
            **{name: pa.ListArray.from_arrays(offsets, values) for name, values in candidates.items()},
        }
    )


def known_columns(
    world: World, state: UserState, requests: Requests, item: Ints, valid: NDArray[np.bool_]
) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
    """Returns what the platform knows of requests and candidates before anything is ranked, as raw columns.

    Args:
        world: The world.
        state: What was known before the first of these requests.
        requests: R requests.
        item: Their candidates `[R, N]`.
        valid: Which places hold one `[R, N]`.

    Returns:
        Columns of requests `[R]`, and of candidates, request after request.
    """
    users, user = world.users, requests.user
    history, length = state.histories(user)
    candidates = item[valid]
    pair_user, category = np.repeat(user, valid.sum(axis=1)), world.items.category[candidates]
    of_request = {
        "user_id": pa.array(user + FIRST_ID),
        "age": _names(users.age[user], AGES),
        "gender": _names(users.gender[user], GENDERS),
        "city": pa.array(users.city[user], pa.int32()),
        "device": _names(requests.device, DEVICES),
        "hour": pa.array(requests.hour, pa.int32()),
        "budget": pa.array(users.budget[user]),
        "history": _lists(pa.array(history + FIRST_ID), length),
    }
    of_candidate = {
        "item_id": pa.array(candidates + FIRST_ID),
        **_item_columns(world, candidates),
        "user_category_count": pa.array(state.category_count(pair_user, category), pa.int32()),
        "user_category_ctr": pa.array(state.category_ctr(pair_user, category)),
    }
    return of_request, of_candidate


def _item_columns(world: World, item: Ints) -> dict[str, pa.Array]:
    items = world.items
    return {
        "category": pa.array(items.category[item], pa.int32()),
        "brand": pa.array(items.brand[item], pa.int32()),
        "price": pa.array(items.price[item]),
        "item_ctr": pa.array(items.ctr[item]),
        "item_age": pa.array(items.age_days[item]),
    }


def _names(index: Ints, names: tuple[str, ...]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(index, pa.int8()), pa.array(names))


def _nullable(values: NDArray[np.generic], null: NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, mask=null)


def _lists(values: pa.Array, lengths: Ints) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32()), values)
