"""Sample rules where the host may not look: the same labels and rows, beside rows that weigh nothing, and no wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distill.batch import MISSING_KEY, Batch, Origin, TeacherSignals
from distill.data.catalogue import Catalogue
from distill.data.popularity import ItemExposures
from distill.losses.setting import LossSetting, TaskInfo
from distill.ops.waiting import as_on_a_device
from distill.sampling import (
    InBatchNegatives,
    PseudoLabels,
    RandomNegatives,
    Sampler,
    Sampling,
    StageNegatives,
    WeightedPseudoLabels,
)
from distill.schema import Schema, Side, parse_schema
from tests.batches import make_batch, make_block, make_schema
from tests.no_sync import waits

TASKS = [TaskInfo("click", 1.0), TaskInfo("like", 1.0)]
RULES: dict[str, Callable[[], list[Sampler]]] = {
    "in batch": lambda: [InBatchNegatives(per_request=3)],
    "in batch of a task": lambda: [InBatchNegatives(tasks=["like"], per_request=2, weight=0.5)],
    "random": lambda: [RandomNegatives(per_request=4)],
    "of few": lambda: [RandomNegatives(per_request=9, distribution="frequency")],
    "pseudo": lambda: [PseudoLabels(top=2, bottom=1)],
    "shares": lambda: [PseudoLabels(tasks=["like"], top=0.3, bottom=0.3, label="soft")],
    "weighted": lambda: [WeightedPseudoLabels(confidence="request")],
    "stage": lambda: [StageNegatives(stages=("ranked", "recalled"), per_request=1)],
    "all of a stage": lambda: [StageNegatives(per_request=None)],
    "several": lambda: [PseudoLabels(), RandomNegatives(per_request=2), InBatchNegatives(per_request=2)],
}


def schema() -> Schema:
    """The tiny schema with a sequence on the candidate side."""
    plain = make_schema(("click", "like")).model_dump(mode="json")
    tags = {"name": "tags", "side": "candidate", "kind": "sequence", "size": 15}
    plain["fields"] = [*plain["fields"], tags]
    return parse_schema(plain, "test")


def batch_of(sizes: tuple[int, ...], seed: int) -> Batch:
    """Some rows weigh nothing, some items repeat or are not known, some labels and scores are missing."""
    draw, made = torch.Generator().manual_seed(seed), make_batch(schema(), sizes, seed=seed)
    count = made.num_candidates
    observed = torch.rand(count, 2, generator=draw) < 0.6
    valid = torch.rand(count, generator=draw) < 0.8
    items = torch.tensor([0, 10, 20, 30, 70, MISSING_KEY])
    return replace(
        made,
        observed=observed,
        labels=made.labels * observed,
        weight=torch.where(torch.rand(count, generator=draw) < 0.3, 0.0, 1.5),
        stage=torch.randint(0, 4, (count,), generator=draw),
        item_id=items[torch.randint(0, 6, (count,), generator=draw)],
        signals=TeacherSignals(torch.randn(count, 2, generator=draw) * valid.unsqueeze(1), valid, {}),
    )


def rules(name: str) -> Sampling:
    sampling, number = Sampling({str(i): rule for i, rule in enumerate(RULES[name]())}), 5 if name == "of few" else 12
    fields = make_block(schema().side(Side.CANDIDATE), number, torch.Generator().manual_seed(1))
    items = torch.arange(number) * 10
    known = Catalogue(items, fields, ItemExposures(items, 1 + torch.arange(number)), ("item",))
    missing = make_block(schema().side(Side.CROSS), 1, torch.Generator().manual_seed(0))
    sampling.setup(
        LossSetting(TASKS, has_signals=True, catalogue=lambda: known, missing_cross=lambda: missing.map(lambda t: t))
    )
    return sampling


def lasting(batch: Batch) -> Tensor:
    """Rows that are not there for a device's sake."""
    added = (batch.origin == Origin.RANDOM_NEGATIVE) | (batch.origin == Origin.IN_BATCH_NEGATIVE)
    return (~added | (batch.weight > 0)).nonzero().flatten()


@pytest.mark.parametrize("sizes", [(3, 0, 4, 1), (9,), (1, 1, 1), (), (0, 0), (6, 7, 2, 5, 8)])
@pytest.mark.parametrize("name", RULES)
def test_labels_and_rows_are_those_of_the_host(name: str, sizes: tuple[int, ...]) -> None:
    sampling = rules(name)
    for step in range(3):
        batch = batch_of(sizes, step).measured()
        wanted = batch.sampled(sampling(batch, step))
        with as_on_a_device():
            made = batch.sampled(sampling(batch, step))
        found = made.select(lasting(made))
        if wanted is batch and found.log_q is not None:  # there was nothing to draw from
            wanted = replace(batch, log_q=torch.zeros_like(batch.weight), logged=batch.observed)
        for here, there in zip(wanted.tensors(), found.tensors(), strict=True):
            if here.shape[0] or there.shape[0]:
                torch.testing.assert_close(there, here, equal_nan=True)
        for ragged in (s for side in (made.request, made.candidate, made.cross) for s in side.sequences.values()):
            assert int(ragged.lengths.sum()) == ragged.values.shape[0]
        if wanted.num_candidates == batch.num_candidates == made.num_candidates and not name.startswith("several"):
            continue
        _check_sizes(made, wanted)


def _check_sizes(made: Batch, wanted: Batch) -> None:
    """What is known of the batch that was made bounds what the host would have found."""
    exact = wanted.measured()
    assert made.sizes is not None
    assert exact.sizes is not None
    assert made.sizes.longest >= exact.sizes.longest
    assert made.sizes.squares >= exact.sizes.squares
    assert made.sizes.positives is None or exact.sizes.positives is not None
    if made.sizes.positives is not None and exact.sizes.positives is not None:
        assert made.sizes.positives >= exact.sizes.positives
    padded = made.measured()
    assert padded.sizes is not None
    assert made.sizes.longest >= padded.sizes.longest
    assert made.sizes.squares >= padded.sizes.squares
    for name, ragged in made.request.sequences.items():
        seen = padded.request.sequences[name].seen
        assert ragged.seen is not None
        assert seen is not None
        assert ragged.seen >= seen


@pytest.mark.parametrize("name", RULES)
def test_the_host_does_not_wait(name: str) -> None:
    sampling = rules(name)
    batch = batch_of((6, 7, 2, 5, 8), 0).measured()
    with waits() as found:
        sampling(batch, 0)
    assert found == []


def test_labels_on_a_device_are_counted() -> None:
    batch = batch_of((6, 7, 2, 5, 8), 0).measured()
    known = batch.sizes
    assert known is not None
    assert known.positives is not None
    more = {"pseudo": 2 * 5 * 2, "stage": 0, "random": 0, "shares": 28, "weighted": None}
    for name, number in more.items():
        sizes = rules(name)(batch, 0).sizes
        assert sizes is not None
        assert sizes.positives == (None if number is None else known.positives + number)
