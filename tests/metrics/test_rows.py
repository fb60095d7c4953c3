from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill.errors import DataError
from distill.metrics.rows import (
    ScoredRows,
    canonical,
    concatenate,
    from_tensors,
    request_ids,
    request_index,
    teacher_rows,
    to_tensors,
)

Table = Callable[..., ScoredRows]


def same(a: ScoredRows, b: ScoredRows) -> bool:
    left, right = to_tensors(a), to_tensors(b)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(12)), copies=st.lists(st.integers(0, 11), max_size=4))
def test_canonical_undoes_any_sharding(table: Table, order: list[int], copies: list[int]) -> None:
    rows = table([5, 3, 4])
    padding = replace(rows, weight=torch.zeros(12), score=torch.full((12,), 9.0)).select(torch.tensor([2, 2, 7]))
    shards = [rows.select(torch.tensor(order[:5])), padding, rows.select(torch.tensor(order[5:] + copies))]
    found = canonical(concatenate(shards))
    assert same(found.rows, rows)
    assert (found.num_padding, found.num_duplicates, found.num_cut_requests) == (3, len(copies), 0)


def test_a_cut_request_is_brought_together_at_its_first_row(table: Table) -> None:
    rows = replace(table([6]), request_id=torch.tensor([8, 5, 8, 5, 1, 8]))
    found = canonical(rows)
    assert found.num_cut_requests == 2
    assert found.rows.row.tolist() == [0, 2, 5, 1, 3, 4]
    index, num_requests = request_index(found.rows)
    assert index.tolist() == [0, 0, 0, 1, 1, 2]
    assert num_requests == 3
    assert request_ids(found.rows).tolist() == [8, 5, 1]


def test_request_index_refuses_a_cut_request(table: Table) -> None:
    with pytest.raises(DataError, match="3 runs of 2 requests"):
        request_index(replace(table([3]), request_id=torch.tensor([1, 2, 1])))


def test_one_row_and_no_rows(table: Table) -> None:
    one = table([1])
    assert same(canonical(one).rows, one)
    assert [part.tolist() if torch.is_tensor(part) else part for part in request_index(one)] == [[0], 1]
    none = one.select(torch.zeros(1, dtype=torch.bool))
    assert same(canonical(none).rows, none)
    index, num_requests = request_index(none)
    assert (index.numel(), num_requests) == (0, 0)


def test_one_position_for_two_candidates_is_refused(table: Table) -> None:
    rows = replace(table([3]), row=torch.tensor([4, 7, 7]), item_id=torch.tensor([1, 2, 3]))
    with pytest.raises(DataError, match="row 7"):
        canonical(rows)


def test_rows_of_a_sampler_are_refused_unless_padding(table: Table) -> None:
    rows = replace(table([3]), row=torch.tensor([0, -1, 1]))
    with pytest.raises(DataError, match="not of the split"):
        canonical(rows)
    assert canonical(replace(rows, weight=torch.tensor([1.0, 0.0, 1.0]))).rows.num_rows == 2


def test_concatenate_refuses_nothing_and_mixed_columns(table: Table) -> None:
    with pytest.raises(DataError, match="no rows"):
        concatenate([])
    with pytest.raises(DataError, match="differ in their columns"):
        concatenate([table([2]), table([2], teacher=False)])


def test_tensors_by_name_and_back(table: Table) -> None:
    rows = table([2, 2])
    named = to_tensors(rows)
    assert "columns.utility" in named
    assert same(from_tensors(named), rows)
    assert "teacher_score" not in to_tensors(table([2], teacher=False))


def test_teacher_rows_put_the_teacher_in_the_students_place(table: Table) -> None:
    rows = replace(table([3]), teacher_valid=torch.tensor([True, False, True]))
    teacher = teacher_rows(rows)
    assert teacher is not None
    assert teacher.row.tolist() == [0, 2]
    assert rows.teacher_score is not None
    assert torch.equal(teacher.score, rows.teacher_score[[0, 2]])
    assert teacher_rows(table([3], teacher=False)) is None
    unordered = teacher_rows(replace(rows, teacher_score=None))
    assert unordered is not None
    assert unordered.score.isnan().all()


def test_rows_in_order_are_not_copied_and_others_come_out_the_same(table: Table) -> None:
    rows = table([3, 2, 4])
    found = canonical(rows)
    assert found.rows.logits.data_ptr() == rows.logits.data_ptr()
    assert (found.num_padding, found.num_duplicates, found.num_cut_requests) == (0, 0, 0)
    reversed_rows = canonical(rows.select(torch.arange(8, -1, -1))).rows
    for name, tensor in to_tensors(rows).items():
        assert torch.equal(tensor, to_tensors(reversed_rows)[name])
