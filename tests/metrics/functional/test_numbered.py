from __future__ import annotations

import pytest
import torch

from distill.metrics.functional.numbered import numbered

LIMIT = 2**63


@pytest.mark.parametrize(
    "ids",
    [[], [7], [3, 3, 3], [5, 2, 9, 2, 5], [-4, 0, -4, 3], [1, 10**12, 1, -(10**15)], [-LIMIT, LIMIT - 1, 0, -LIMIT]],
)
def test_ids_are_numbered_in_their_order(ids: list[int]) -> None:
    found = numbered(torch.tensor(ids, dtype=torch.int64))
    distinct = sorted(set(ids))
    assert found.ids.tolist() == distinct
    assert found.number.tolist() == [distinct.index(i) for i in ids]
    assert found.count == len(distinct)
