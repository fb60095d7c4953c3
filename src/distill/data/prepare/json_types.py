"""The Arrow types that a file of JSON lines has, when what Arrow finds in each of its blocks is put together."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import combine, is_list

Steps = tuple[str | None, ...]
"""Where a value is within a column: the key of an object, or None for the values of a list."""

_NUMBERS = {pa.int64(), pa.uint64(), pa.float64()}


def without_times(kind: pa.DataType) -> pa.DataType:
    """Returns a type with text for times: not all of the file may look like times."""
    for path, leaf in _leaves(kind):
        if pa.types.is_timestamp(leaf):
            kind = with_leaf(kind, path, pa.string())
    return kind


def unsigned_leaves(column: pa.ChunkedArray) -> list[Steps]:
    """Returns where in a column are numbers from 2⁶³ on that fit into 64 bits: Arrow takes them for floats."""
    floats = [path for path, leaf in _leaves(column.type) if pa.types.is_floating(leaf)]
    return [path for path in floats if _is_above_signed(_values(combine(column), path))]


def with_leaf(kind: pa.DataType, path: Steps, leaf: pa.DataType) -> pa.DataType:
    """Returns a type with another one at a path."""
    if not path:
        return leaf
    if path[0] is None:
        return pa.list_(with_leaf(kind.value_type, path[1:], leaf))
    return pa.struct([(c.name, with_leaf(c.type, path[1:], leaf) if c.name == path[0] else c.type) for c in kind])


def join(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Returns the narrowest type that fits values of both, with the keys of both; None if there is none.

    The type of an object without keys is false, as it is empty.
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if is_list(one) and is_list(other):
        inner = join(one.value_type, other.value_type)
        return None if inner is None else pa.list_(inner)
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        return _join_structs(one, other)
    if {one, other} <= _NUMBERS:
        return pa.float64() if pa.float64() in (one, other) else pa.uint64()
    return None


def _join_structs(one: pa.StructType, other: pa.StructType) -> pa.StructType | None:
    kinds = {column.name: column.type for column in one}
    for column in other:
        joined = join(kinds.get(column.name, pa.null()), column.type)
        if joined is None:
            return None
        kinds[column.name] = joined
    return pa.struct(list(kinds.items()))


def _leaves(kind: pa.DataType) -> Iterator[tuple[Steps, pa.DataType]]:
    if is_list(kind):
        yield from (((None, *path), leaf) for path, leaf in _leaves(kind.value_type))
    elif pa.types.is_struct(kind):
        for column in kind:
            yield from (((column.name, *path), leaf) for path, leaf in _leaves(column.type))
    else:
        yield (), kind


def _values(array: pa.Array, path: Steps) -> pa.Array:
    for step in path:
        array = array.flatten() if step is None else pc.struct_field(array, [step])
    return array


def _is_above_signed(values: pa.Array) -> bool:
    most = pc.max(values).as_py()
    return most is not None and 2.0**63 <= most <= 2.0**64
