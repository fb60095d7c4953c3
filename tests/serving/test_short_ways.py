"""The ways that a server takes most are those of all others: one request, and keys that are an array."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from distill.serving.interaction import combine
from distill.serving.item_keys import ItemKeys
from distill.serving.manifest import Interaction


@pytest.mark.parametrize("stored", [list(range(10, 40)), [7, 10**12, -3]])
def test_arrays_of_keys_are_found_as_lists_are(stored: list[int]) -> None:
    keys, wanted = ItemKeys("item", pa.array(stored)), [*stored[::2], 5, -(10**15)]
    expected = [stored.index(key) if key in stored else -1 for key in wanted]
    assert keys.find(wanted).tolist() == expected
    assert keys.find(np.array(wanted)).tolist() == expected
    assert keys.find(np.array(wanted)[::-1]).tolist() == expected[::-1]


def test_one_request_has_the_dot_products_of_many() -> None:
    rng = np.random.default_rng(0)
    request = rng.normal(size=(3, 2, 4)).astype(np.float32)
    candidate = rng.normal(size=(9, 1, 4)).astype(np.float32)
    index = np.array([0, 0, 1, 1, 1, 1, 2, 2, 2])
    kind = Interaction(type="dot", bias=(0.5, -1.0))
    many = combine(kind, request, candidate, index)
    np.testing.assert_allclose(
        many, np.einsum("nkd,nd->nk", request[index], candidate[:, 0]) + np.float32([0.5, -1.0]), rtol=1e-5
    )
    for row in range(3):
        rows = index == row
        alone = combine(kind, request[row : row + 1], candidate[rows], np.zeros(rows.sum(), np.int64))
        np.testing.assert_array_equal(alone, many[rows])
    without = combine(kind, request, candidate[:0], index[:0])
    assert without.shape == (0, 2)
