from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from distill.metrics.packing import decode_layout, encode_layout, layout_of, pack, row_bytes, unpack
from distill.metrics.rows import ScoredRows, to_tensors


@pytest.mark.parametrize("sizes", [[], [1], [3, 4]])
@pytest.mark.parametrize("teacher", [True, False])
def test_round_trip_keeps_every_bit(table: Callable[..., ScoredRows], sizes: list[int], teacher: bool) -> None:
    rows = table(sizes, teacher=teacher)
    noise = torch.randn(rows.num_rows, 2).to(torch.bfloat16)
    columns = {"naïve": torch.full_like(rows.score, float("nan")), "price": rows.score.double()}
    rows = replace(rows, logits=noise, columns=columns)
    layout = decode_layout(encode_layout(layout_of(rows)))
    data = pack(rows)
    assert data.shape == (rows.num_rows, row_bytes(layout))
    before, after = to_tensors(rows), to_tensors(unpack(layout, data))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert after[name].shape == tensor.shape
        assert torch.equal(tensor.isnan(), after[name].isnan())
        assert torch.equal(tensor.nan_to_num(), after[name].nan_to_num())
