"""Columns are picked by slices and products instead of value by value, and are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from distill.export.columns import rewrite_column_gathers
from distill.export.programs import quiet


class Picks(nn.Module):
    def __init__(self, columns: list[int]) -> None:
        super().__init__()
        self.register_buffer("columns", torch.tensor(columns))

    def forward(self, x: Tensor) -> Tensor:
        return (x + 1).index_select(1, self.get_buffer("columns")) * 2


@pytest.mark.parametrize(
    ("columns", "kinds"),
    [
        (list(range(12)), set()),
        ([2, 3, 4], {"Slice"}),
        ([8, 9, 0, 1, 2], {"Slice", "Concat"}),
        ([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 4, 5, 5, 6, 7, 7], {"MatMul"}),
        ([3, 3, 3, 5, 5, 4, 3, 4, 4, 5, 5, 3, 3, 4, 5, 5], {"Slice", "MatMul"}),
    ],
)
def test_rewritten_graphs_give_the_same_columns(columns: list[int], kinds: set[str], tmp_path: Path) -> None:
    x = torch.randn(5, 12)
    with quiet():
        program = torch.onnx.export(
            Picks(columns),
            (x,),
            dynamo=True,
            verbose=False,
            input_names=["x"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )
    assert program is not None
    assert rewrite_column_gathers(program.model) == 1
    found = {node.op_type for node in program.model.graph}
    assert "Gather" not in found
    assert kinds <= found
    onnx_ir.save(program.model, tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    rows = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
    (out,) = session.run(None, {"x": rows})
    np.testing.assert_array_equal(out, (rows + 1)[:, columns] * 2)
