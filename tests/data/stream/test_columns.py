"""Columns side by side in a matrix."""

from __future__ import annotations

import numpy as np
import pytest

from distill.data.stream.columns import fill_matrix


@pytest.mark.parametrize("width", [0, 1, 4, 5, 26])
@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 30])
def test_a_part_of_a_matrix_is_filled(width: int, rows: int) -> None:
    columns = [np.arange(rows, dtype=np.int32) * 100 + place for place in range(width)]
    matrix = np.full((rows, width + 3), -1, np.int32)
    fill_matrix(matrix[:, 2 : 2 + width], columns, chunk=8)
    assert (matrix[:, :2] == -1).all()
    assert (matrix[:, 2 + width :] == -1).all()
    assert all(np.array_equal(matrix[:, 2 + place], column) for place, column in enumerate(columns))
