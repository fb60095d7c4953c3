"""Raw columns of requests, in whatever form a server has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from distill.serving.columns import as_array


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.5, np.nan, -0.0], np.float32),
        np.array([1.5, np.inf]),
        np.array([1.5, 2.0], np.float16),
        np.array([1, -3], np.int16),
        np.array([2**63 + 1, 3], np.uint64),
        np.array([True, False]),
        np.array(["a", "b"]),
        np.array([1.0, 2.0], ">f8"),
        np.array([1, 2, 3, 4])[::2],
        np.array([], np.float64),
        np.array([1, None], object),
    ],
    ids=lambda values: f"{values.dtype.str}{len(values)}",
)
def test_arrays_are_read_as_lists_of_their_values_are(values: npt.NDArray[Any]) -> None:
    found, wanted = as_array(values, "here"), as_array(list(values), "here")
    assert str(found.to_pylist()) == str(wanted.to_pylist())
    if len(values):
        assert found.type == wanted.type
