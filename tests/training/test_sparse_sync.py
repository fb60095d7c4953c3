"""The exchange of touched rows between two, three and four gloo ranks, on one machine and node by node."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.exchange import NodeBytes, bytes_of_rows
from distill.ops.rows import is_padding, sum_rows
from tests.jobs.processes import run_python
from tests.training.exchange_ranks import CASES, PADDED, SHAPES, gradients

Found = dict[str, list[dict[str, Any]]]
TABLES = [(table, *shape) for table, shape in enumerate(SHAPES)]
BY_NODES = ("two by two", "in turn")
FLAT = [case for case in CASES if case not in (*BY_NODES, "uneven")]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("ranks")
    done = run_python("-m", "tests.training.exchange_ranks", str(folder))
    assert done.status == 0, done.errors[-3000:]
    return {
        name: [torch.load(folder / f"{name}_{rank}.pt", weights_only=True) for rank in range(len(nodes))]
        for case, nodes in CASES.items()
        for name in ((case, f"{case} padded") if case in PADDED else (case,))
    }


def _own(rank: int, table: int, world: int) -> tuple[Tensor, Tensor]:
    """A rank's share of the mean, each row once."""
    gradient = gradients(rank)[table]
    count, width = SHAPES[table]
    if gradient is None:
        return torch.empty(0, dtype=torch.long), torch.empty(0, width)
    ids, sums = sum_rows(*gradient, count)
    return ids, sums / world


def _added(parts: list[tuple[Tensor, Tensor]], count: int) -> tuple[Tensor, Tensor]:
    """Rows of several ranks, those of equal ids added up in their order."""
    return sum_rows(torch.cat([ids for ids, _ in parts]), torch.cat([values for _, values in parts]), count)


def _members(case: str) -> list[list[int]]:
    of_node = defaultdict(list)
    for rank, node in enumerate(CASES[case]):
        of_node[node].append(rank)
    return [of_node[node] for node in sorted(of_node)]


@pytest.mark.parametrize("case", [*FLAT, *BY_NODES])
@pytest.mark.parametrize(("table", "count", "width"), TABLES)
def test_every_rank_has_the_mean_over_ranks(found: Found, case: str, table: int, count: int, width: int) -> None:
    world = len(CASES[case])
    mean = torch.zeros(count, width, dtype=torch.float64)
    for ids, values in (_own(rank, table, world) for rank in range(world)):
        mean.index_add_(0, ids, values.double())
    ids, values = found[case][0]["gradients"][table]
    dense = torch.zeros(count, width).index_add_(0, ids, values)
    torch.testing.assert_close(dense.double(), mean, rtol=1e-6, atol=1e-6)
    assert (ids.diff() > 0).all(), "each row once, in rising order"
    for other in found[case][1:]:
        for one, two in zip(found[case][0]["gradients"][table], other["gradients"][table], strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("case", FLAT)
@pytest.mark.parametrize(("table", "count", "width"), TABLES)
def test_rows_are_added_up_in_the_order_of_ranks(found: Found, case: str, table: int, count: int, width: int) -> None:
    world = len(CASES[case])
    expected = _added([_own(rank, table, world) for rank in range(world)], count)
    assert not found[case][0]["by_nodes"]
    for one, two in zip(found[case][0]["gradients"][table], expected, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("case", BY_NODES)
@pytest.mark.parametrize(("table", "count", "width"), TABLES)
def test_rows_are_added_up_within_nodes_first(found: Found, case: str, table: int, count: int, width: int) -> None:
    world = len(CASES[case])
    of_nodes = [_added([_own(rank, table, world) for rank in ranks], count) for ranks in _members(case)]
    assert found[case][0]["by_nodes"]
    for one, two in zip(found[case][0]["gradients"][table], _added(of_nodes, count), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("case", BY_NODES)
def test_the_bytes_are_those_of_the_formula(found: Found, case: str) -> None:
    members, world = _members(case), len(CASES[case])
    flat = [bytes_of_rows([len(_own(r, t, world)[0]) for r in range(world)], width) for t, _, width in TABLES]
    for rank in range(world):
        node = CASES[case][rank]
        place = members[node].index(rank)
        expected = [0, 0]
        for table, _, width in TABLES:
            ids = [[_own(other, table, world)[0] for other in ranks] for ranks in members]
            bytes_of_table = NodeBytes.of(ids, node, place, width)
            expected[0] += bytes_of_table.inside
            expected[1] += bytes_of_table.between
        assert found[case][rank]["received"] == expected
        assert 2 * expected[1] < sum(flat) * 2 / 3, "a row leaves its node once, not once for each rank of another"


@pytest.mark.parametrize("case", PADDED)
@pytest.mark.parametrize("table", range(len(SHAPES)))
def test_where_the_host_may_not_look_the_rows_are_the_same_and_none_is_added(
    found: Found, case: str, table: int
) -> None:
    for rank in range(len(CASES[case])):
        ids, values = found[f"{case} padded"][rank]["gradients"][table]
        wanted = found[case][rank]["gradients"][table]
        padding = is_padding(ids)
        assert padding.any() or not len(ids)
        assert not values[padding].any()
        assert torch.equal(ids[~padding], wanted[0])
        assert torch.equal(values[~padding], wanted[1])


@pytest.mark.parametrize("case", [case for case in PADDED if case not in BY_NODES])
def test_where_the_host_may_not_look_as_many_rows_are_sent_as_were_looked_up_without_a_wait(
    found: Found, case: str
) -> None:
    world = len(CASES[case])
    looked_up = [[0 if g is None else len(g[0]) for g in gradients(rank)] for rank in range(world)]
    expected = sum(bytes_of_rows([rows[table] for rows in looked_up], width) for table, _, width in TABLES)
    for rank in range(world):
        assert found[f"{case} padded"][rank]["received"] == [expected, 0]
        assert found[f"{case} padded"][rank]["waited"] == []


def test_several_machines_wait_for_what_they_have_added_up(found: Found) -> None:
    for rank in found["two by two padded"]:
        assert any("sparse_sync.py" in place for place in rank["waited"])


def test_nodes_of_different_sizes_are_refused(found: Found) -> None:
    for rank in found["uneven"]:
        assert "Every node must run the same number of ranks." in rank["refused"]
        assert "3, 1" in rank["refused"]
