"""Whether text that was read is text: files may hold bytes that are not UTF-8, which Arrow reads as they are.

Arrow's own full check looks at every value. Most text is ASCII, which the bytes of a column show at the speed of
memory, and most columns are dictionaries, of which only the distinct values are text.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def check_text(array: pa.Array) -> None:
    """Checks all values of an array of text, of a dictionary of text or of lists of them.

    Raises:
        pa.ArrowInvalid: A value is not UTF-8, or the array is damaged.
    """
    array.validate()
    if pa.types.is_dictionary(array.type) and _are_inside(array.indices, len(array.dictionary)):
        check_text(array.dictionary)
    elif not (pa.types.is_string(array.type) and _is_ascii(array)):
        array.validate(full=True)


def _are_inside(indices: pa.Array, size: int) -> bool:
    """Whether all indices are of a dictionary of so many values; those under nulls are looked at too."""
    if indices.type != pa.int32() or len(indices) == 0:
        return False
    found = np.frombuffer(indices.buffers()[1], np.uint32, len(indices), 4 * indices.offset)  # below 0 is very large
    return int(found.max()) < size


def _is_ascii(array: pa.Array) -> bool:
    """Whether an array that passed Arrow's quick check has ascending offsets, and bytes of ASCII alone."""
    _, offset_buffer, data = array.buffers()
    if len(array) == 0 or data is None:
        return False
    offsets = np.frombuffer(offset_buffer, np.int32, len(array) + 1, 4 * array.offset)
    if not (offsets[1:] >= offsets[:-1]).all():
        return False
    content = np.frombuffer(data, np.int8)[offsets[0] : offsets[-1]]  # from 128 on is below 0
    return len(content) == 0 or int(content.min()) >= 0
