"""Rewrites how an ONNX graph picks columns: its runtime copies them one value at a time, which is most of a request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_RUNS = 8
Int64 = npt.NDArray[np.int64]


def rewrite_column_gathers(model: Any) -> int:
    """Replaces `Gather` of constant columns of float rows `[B, C]`, value for value the same.

    All columns in their order are the rows themselves; a few runs of columns are slices side by side; anything else,
    such as the weight of each field spread over its columns, is a product with a matrix of zeros and ones.

    Args:
        model: Of `onnx_ir`; it is changed.

    Returns:
        How many there were.
    """
    import onnx_ir as ir

    graph, count = model.graph, 0
    for node in list(graph):
        columns = _constant_columns(node)
        if columns is None:
            continue
        rows, out = node.inputs[0], node.outputs[0]
        width = rows.shape[1]
        runs = list(_runs(columns))
        if columns.tolist() == list(range(width)):
            new = rows
        elif len(runs) <= _MOST_RUNS:
            new = _sliced(graph, node, rows, runs, f"{out.name}_columns")
        else:
            new = _multiplied(graph, node, rows, columns, width, f"{out.name}_columns")
        ir.convenience.replace_all_uses_with(out, new)
        graph.remove(node, safe=True)
        count += 1
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
    return count


def _constant_columns(node: Any) -> Int64 | None:
    """Returns the columns that a node picks of float rows of known width; None of any other node."""
    import onnx_ir as ir

    if node.op_type != "Gather" or node.attributes.get("axis") is None or node.attributes["axis"].as_int() != 1:
        return None
    rows, columns = node.inputs
    if rows is None or rows.shape is None or len(rows.shape) != 2 or not isinstance(rows.shape[1], int):
        return None
    if rows.dtype != ir.DataType.FLOAT or columns is None or columns.const_value is None:
        return None
    if any(out.is_graph_output() for out in node.outputs):
        return None
    found: Int64 = columns.const_value.numpy()
    return found if found.ndim == 1 and len(found) and found.min() >= 0 else None


def _runs(columns: Int64) -> Iterator[tuple[int, int]]:
    """Yields the first column and the end of each run of rising neighbours."""
    ends = np.flatnonzero(np.diff(columns) != 1) + 1
    for part in np.split(columns, ends):
        yield int(part[0]), int(part[-1]) + 1


def _sliced(graph: Any, before: Any, rows: Any, runs: list[tuple[int, int]], name: str) -> Any:
    import onnx_ir as ir

    parts = []
    for number, (first, last) in enumerate(runs):
        bounds = [
            _constant(graph, np.array([value], np.int64), f"{name}_{number}_{what}")
            for what, value in (("first", first), ("last", last), ("axis", 1))
        ]
        parts.append(_add(graph, before, ir.node("Slice", [rows, *bounds]), f"{name}_{number}"))
    if len(parts) == 1:
        return parts[0]
    return _add(graph, before, ir.node("Concat", parts, attributes={"axis": 1}), name)


def _multiplied(graph: Any, before: Any, rows: Any, columns: Int64, width: int, name: str) -> Any:
    import onnx_ir as ir

    first, last = int(columns.min()), int(columns.max()) + 1
    if last - first <= width // 2:  # the product with the others would be with zeros
        rows = _sliced(graph, before, rows, [(first, last)], f"{name}_read")
        columns, width = columns - first, last - first
    matrix = np.zeros((width, len(columns)), np.float32)
    matrix[columns, np.arange(len(columns))] = 1.0
    return _add(graph, before, ir.node("MatMul", [rows, _constant(graph, matrix, f"{name}_picked")]), name)


def _constant(graph: Any, array: npt.NDArray[Any], name: str) -> Any:
    import onnx_ir as ir

    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def _add(graph: Any, before: Any, node: Any, name: str) -> Any:
    graph.insert_before(before, node)
    node.outputs[0].name = name
    return node.outputs[0]
