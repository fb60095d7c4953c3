"""Text is refused where Arrow's full check refuses it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.encodings.valid import check_text


def text_of(values: list[bytes | None]) -> pa.Array:
    """Bytes taken for text, as Arrow's readers take them."""
    binary = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(binary), binary.buffers(), offset=binary.offset)


def is_refused(array: pa.Array, check: bool) -> bool:
    try:
        if check:
            check_text(array)
        else:
            array.validate(full=True)
    except pa.ArrowInvalid:
        return True
    return False


@given(st.lists(st.one_of(st.none(), st.binary(max_size=3), st.text(max_size=3).map(str.encode)), max_size=6))
def test_as_the_full_check(values: list[bytes | None]) -> None:
    array = text_of(values)
    indices = pa.array([0, None, *range(len(values))], pa.int32()) if values else pa.array([None], pa.int32())
    for found in (array, array[1:], pa.DictionaryArray.from_arrays(indices, array)):
        assert is_refused(found, check=True) == is_refused(found, check=False)


@pytest.mark.parametrize("index", [3, -1, 2**31 - 1])
def test_an_index_beyond_the_dictionary(index: int) -> None:
    found = pa.DictionaryArray.from_arrays(pa.array([0, index, 1], pa.int32()), pa.array(["a", "b", "c"]), safe=False)
    with pytest.raises(pa.ArrowInvalid):
        check_text(found)


def test_offsets_that_go_back() -> None:
    offsets = pa.py_buffer(np.array([0, 3, 1, 4], np.int32))
    found = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"abcd")])
    with pytest.raises(pa.ArrowInvalid):
        check_text(found)


def test_lists_of_text() -> None:
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), text_of([b"a", b"\xff"]))
    with pytest.raises(pa.ArrowInvalid):
        check_text(lists)
