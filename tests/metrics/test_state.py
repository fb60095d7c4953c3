from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.errors import DataError
from distill.metrics import MetricState, ScoredRows
from distill.metrics.rows import concatenate
from distill.ops.brought import Brought
from distill.ops.waiting import as_on_a_device
from tests.no_sync import waits
from tests.patience import patience

Table = Callable[..., ScoredRows]
WORKER = Path(__file__).with_name("gloo_worker.py")


def test_gather_of_one_process_is_canonical(table: Table) -> None:
    rows = table([3, 2])
    state = MetricState()
    state.update(rows.select(torch.tensor([3, 4])))
    state.update(rows.select(torch.tensor([0, 1, 2, 2])))
    gathered = state.gather()
    assert torch.equal(gathered.rows.row, torch.arange(5))
    assert torch.equal(gathered.rows.score, rows.score)
    assert gathered.num_duplicates == 1


def test_rows_on_a_device_are_brought_in_pieces_of_many(table: Table) -> None:
    rows = table([3, 2, 4])
    here, there = MetricState(), MetricState()
    there._rows = Brought(concatenate, most=5)
    pieces = [rows.select(torch.arange(9)[first : first + 2]) for first in range(0, 9, 2)]
    for piece in pieces:
        here.update(piece)
    with as_on_a_device(), waits() as found:
        there.update(pieces[0])
        there.update(pieces[1])
        assert found == []
        there.update(pieces[2])
        assert {place.split(" at ")[0] for place in found} == {"cpu"}
        once = len(found)
        there.update(pieces[3])
        there.update(pieces[4])
        assert len(found) == once
    a, b = here.gather().rows, there.gather().rows
    assert all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True))
    assert torch.equal(a.row, torch.arange(9))


def test_update_copies_without_gradient(table: Table) -> None:
    rows = table([2])
    rows.logits.requires_grad_()
    expected = rows.score.clone()
    state = MetricState()
    state.update(rows)
    rows.score.zero_()
    gathered = state.gather().rows
    assert torch.equal(gathered.score, expected)
    assert not gathered.logits.requires_grad


def test_reset_forgets_and_no_rows_are_an_error(table: Table) -> None:
    state = MetricState()
    state.update(table([2]))
    state.reset()
    with pytest.raises(DataError, match="no rows"):
        state.gather()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of one process and of each of two, by `<world size>_<rank>`."""
    folder = tmp_path_factory.mktemp("gloo")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    names = ["1_0", "2_0", "2_1"]
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), name[2], name[0], str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=patience())
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["uneven", "no teacher", "one empty rank"])
def test_two_processes_agree_exactly_with_one(runs: dict[str, Any], scenario: str) -> None:
    expected = runs["1_0"][scenario]
    assert len(expected) > 30
    assert runs["2_0"][scenario] == expected
    assert runs["2_1"][scenario] == expected


@pytest.mark.slow
def test_all_ranks_refuse_what_one_rank_got_wrong(runs: dict[str, Any]) -> None:
    expected = ["Ranks of one evaluation differ in their columns.", "There are no rows to measure on any rank."]
    assert runs["2_0"]["refusals"] == runs["2_1"]["refusals"] == expected
