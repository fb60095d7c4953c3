"""Metrics computed on the card: those of the host, the same each time, and rows that stay there as they come."""

from __future__ import annotations

import pytest
import torch

from distill.metrics import MetricState, room
from distill.metrics.rows import concatenate
from distill.ops.brought import Brought
from tests.gpu.test_step import CARD, no_waits
from tests.metrics.conftest import make_table
from tests.metrics.test_room import all_metrics, weighted
from tests.metrics.test_suite import TASKS
from tests.training.stepping import batch_of, module_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
LARGE = [40, 1, 7, 300] * 200


@pytest.mark.parametrize("is_weighted", [False, True])
def test_metrics_of_the_card_are_those_of_the_host_and_stay_the_same(is_weighted: bool) -> None:
    rows, suite = make_table(LARGE), all_metrics()
    rows = weighted(rows) if is_weighted else rows
    here, sampled_here = suite.measure(rows, TASKS)
    there, sampled_there = suite.measure(rows.to(CARD), TASKS)
    assert there == pytest.approx(here, rel=1e-9, abs=1e-12, nan_ok=True)
    errors = ({name: float(part.standard_error()) for name, part in of.items()} for of in (sampled_here, sampled_there))
    assert next(errors) == pytest.approx(next(errors), rel=1e-6, nan_ok=True)
    for _ in range(3):
        again, _ = suite.measure(rows.to(CARD), TASKS)
        assert {name: value.hex() for name, value in again.items()} == {n: v.hex() for n, v in there.items()}


def test_rows_stay_on_the_card_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_table([5] * 40).to(CARD)
    state = MetricState("auto")
    state._rows = Brought(concatenate, most=60, stays=room.has_room)
    torch.cuda.synchronize()
    with no_waits():
        for first in range(0, 200, 50):
            state.update(rows.select(torch.arange(first, first + 50, device=CARD)))
    assert state.gather().rows.row.device == CARD
    monkeypatch.setattr(room, "free_bytes", lambda device: 0)
    state.update(rows)
    state.reset()
    state.update(rows)
    assert state.gather().rows.row.device.type == "cpu"


def test_validation_batches_do_not_wait() -> None:
    module = module_of("two_tower").to(CARD)
    batches = [batch_of(True, seed).to(CARD) for seed in range(4)]
    module.validation_step(batches[0], 0)
    with torch.no_grad(), no_waits():
        for batch in batches[1:]:
            module.validation_step(batch, 0)
    assert module._rows.gather().rows.num_rows > 0
