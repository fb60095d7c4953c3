"""The cost of a model in production: what is left to compute when a request comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from distill.batch import Batch
from distill.models.cost.counting import Work, count_work
from distill.models.cost.random_batch import random_batch
from distill.models.prerankers.base import SplitPreRanker
from distill.schema import Schema

CANDIDATES = (100, 1000, 5000)
_STORED_ITEMS = 100_000
_LEAST_TURNS, _MOST_TURNS = 5, 200


@dataclass(frozen=True)
class Cost:
    """What a model costs online, precomputed item vectors left out.

    Attributes:
        parameters: Number of weights.
        request_flops: Floating-point operations that a request costs whatever its candidates.
        candidate_flops: Operations that each candidate adds.
        candidate_lookups: Rows of embedding tables that each candidate adds; fetching a stored vector is none.
        item_bytes: Bytes of the stored vectors of an item, in float32.
        milliseconds: Number of candidates to the median and the 99th percentile of a request's time, on one thread.
    """

    parameters: int
    request_flops: int
    candidate_flops: int
    candidate_lookups: float
    item_bytes: int
    milliseconds: dict[int, tuple[float, float]]

    def as_numbers(self) -> dict[str, float]:
        """Returns all of it by name, for a summary."""
        numbers: dict[str, float] = {
            "parameters": self.parameters,
            "request_flops": self.request_flops,
            "candidate_flops": self.candidate_flops,
            "candidate_lookups": self.candidate_lookups,
            "item_bytes": self.item_bytes,
        }
        for count, (median, tail) in self.milliseconds.items():
            numbers |= {f"ms_p50@{count}": median, f"ms_p99@{count}": tail}
        return numbers


def measure_cost(model: nn.Module, schema: Schema, seconds: float) -> Cost:
    """Counts and times what a model does online, on random requests.

    What `precomputable` says of candidates is computed ahead and stored, and fetched by position from the vectors of
    100,000 items; the request's side is computed once per request. Everything else is online.

    Args:
        model: A ranker or pre-ranker; left in evaluation mode.
        schema: The view that the model was built from.
        seconds: About how long each number of candidates is timed, after a turn to warm up.
    """
    model.eval()
    fixed, slope = online_flops(model, schema)
    return Cost(
        parameters=sum(p.numel() for p in model.parameters()),
        request_flops=fixed.flops,
        candidate_flops=slope.flops,
        candidate_lookups=slope.lookups,
        item_bytes=_item_bytes(model, schema),
        milliseconds={count: request_milliseconds(model, schema, count, seconds) for count in CANDIDATES},
    )


def online_flops(model: nn.Module, schema: Schema) -> tuple[Work, Work]:
    """Counts the online work of a request, and what each of its candidates adds.

    Args:
        model: A ranker or pre-ranker in evaluation mode.
        schema: The view that the model was built from.
    """
    few, many = (count_work(_request(model, schema, count), model) for count in (100, 200))
    slope = Work((many.flops - few.flops) // 100, (many.lookups - few.lookups) // 100)
    return Work(few.flops - 100 * slope.flops, few.lookups - 100 * slope.lookups), slope


def request_milliseconds(model: nn.Module, schema: Schema, count: int, seconds: float) -> tuple[float, float]:
    """Times a request of `count` candidates on one thread; returns median and 99th percentile in milliseconds.

    Args:
        model: A ranker or pre-ranker in evaluation mode.
        schema: The view that the model was built from.
        count: Number of candidates.
        seconds: About how long.
    """
    return _time(_request(model, schema, count), seconds)


def _request(model: nn.Module, schema: Schema, count: int) -> Callable[[], object]:
    """Returns what happens online for a request of `count` candidates."""
    batch = random_batch(schema, [count])
    if isinstance(model, SplitPreRanker) and "candidate" in model.precomputable:
        with torch.no_grad():
            like = model.encode_candidate(batch.candidate)
        store = torch.randn(_STORED_ITEMS, *like.shape[1:])
        items = torch.randint(0, _STORED_ITEMS, (count,), generator=torch.Generator().manual_seed(0))
        return partial(_split_request, model, batch, store, items)
    return partial(model, batch)


def _split_request(model: SplitPreRanker, batch: Batch, store: Tensor, items: Tensor) -> Any:
    request = model.encode_request(batch.request)
    return model.interact(request, store.index_select(0, items), batch.cross, batch.request_index)


def _item_bytes(model: nn.Module, schema: Schema) -> int:
    if not (isinstance(model, SplitPreRanker) and "candidate" in model.precomputable):
        return 0
    with torch.no_grad():
        vectors = model.encode_candidate(random_batch(schema, [2]).candidate)
    return vectors[0].numel() * vectors.element_size()


def _time(call: Callable[[], object], seconds: float) -> tuple[float, float]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            call()
            times: list[float] = []
            end = time.perf_counter() + seconds
            while len(times) < _LEAST_TURNS or (len(times) < _MOST_TURNS and time.perf_counter() < end):
                start = time.perf_counter()
                call()
                times.append(1000 * (time.perf_counter() - start))
    finally:
        torch.set_num_threads(threads)
    found = torch.tensor(times, dtype=torch.float64).quantile(torch.tensor([0.5, 0.99], dtype=torch.float64))
    return float(found[0]), float(found[1])
