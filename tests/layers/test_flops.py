"""Counts agree with the arithmetic of the equations."""

from __future__ import annotations

import torch

from distill.layers.cross import CrossNetV2
from distill.layers.field_attention import FieldAttention
from distill.layers.flops import count_flops
from distill.layers.fm import FM
from distill.layers.kfm import KFM
from distill.layers.mlp import MLP
from distill.layers.mmoe import MMoE
from distill.layers.transformer import TransformerEncoder


def test_matrix_products_count_two_for_each_multiply_add() -> None:
    x = torch.randn(7, 6)
    assert count_flops(lambda: MLP(6, [4, 3])(x)) == 7 * 2 * (6 * 4 + 4 * 3)
    assert count_flops(lambda: CrossNetV2(6, 2, rank=2)(x)) == 7 * 2 * 2 * (2 * 6 * 2)
    assert count_flops(lambda: MMoE(6, 2, 3, [4, 5])(x)) == 7 * 2 * (3 * (6 * 4 + 4 * 5) + 2 * 3 * 6 + 2 * 3 * 5)
    assert count_flops(lambda: KFM({"a": 2, "b": 4})(x)) == 7 * 2 * 6 * 6
    assert count_flops(lambda: torch.mv(x, x[0])) == 7 * 2 * 6


def test_attention_counts_scores_and_sums() -> None:
    x = torch.randn(7, 6)
    layer = FieldAttention({"a": 2, "b": 2, "c": 2}, 1, 2, 4, residual=True)
    assert count_flops(lambda: layer(x)) == 7 * 2 * (3 * 2 * 4 * 8 + 2 * 3 * 3 * 2 * 4)
    masked = TransformerEncoder(4, 1, 2, 0.0, 8)
    # Two sequences, padded inside to three values each.
    found = count_flops(lambda: masked(torch.randn(4, 4), torch.tensor([3, 1])))
    assert found == 2 * 2 * (3 * 12 * 4 * 4 + 2 * 3 * 3 * 4)


def test_elementwise_work_does_not_count_and_gradients_are_kept() -> None:
    x = torch.randn(7, 6, requires_grad=True)
    assert count_flops(lambda: FM({"a": 3, "b": 3})(x)) == 0
    assert FM({"a": 3, "b": 3})(x).requires_grad
