"""FM, bi-interaction, KFM and the dot interaction: sums over pairs of fields."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.layers.dot_interaction import DotInteraction
from distill.layers.fm import FM, BiInteraction
from distill.layers.kfm import KFM
from tests.layers.checking import EQUAL, UNEQUAL, arrays, check_layer, count, randomise, rows, split


@pytest.mark.parametrize("widths", EQUAL)
def test_fm_and_bi_interaction_equal_numpy(widths: dict[str, int]) -> None:
    x = rows(4, sum(widths.values()))
    vectors = []
    for row in x.numpy():
        fields = split(row, widths)
        vectors.append(sum(fields[i] * fields[j] for i in range(len(fields)) for j in range(i + 1, len(fields))))
    np.testing.assert_allclose(BiInteraction(widths)(x).numpy(), vectors, atol=1e-9)
    np.testing.assert_allclose(FM(widths)(x).numpy(), np.sum(vectors, axis=1, keepdims=True), atol=1e-9)


@pytest.mark.parametrize("widths", EQUAL)
def test_dot_interaction_equals_numpy(widths: dict[str, int]) -> None:
    x = rows(4, sum(widths.values()))
    expected = []
    for row in x.numpy():
        fields = split(row, widths)
        expected.append([fields[i] @ fields[j] for i in range(len(fields)) for j in range(i)])
    np.testing.assert_allclose(DotInteraction(widths)(x).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("widths", [*EQUAL, *UNEQUAL])
def test_kfm_equals_numpy(widths: dict[str, int]) -> None:
    layer = KFM(widths).double()
    randomise(layer)
    sizes = list(widths.values())
    # The kernels lie row by row in the block triangle.
    stored, kernels = iter(arrays(layer)["kernels"]), {}
    for i, own in enumerate(sizes):
        block = np.array([[next(stored) for _ in range(sum(sizes[i + 1 :]))] for _ in range(own)])
        for j in range(i + 1, len(sizes)):
            start = sum(sizes[i + 1 : j])
            kernels[i, j] = block[:, start : start + sizes[j]]
    x, expected = rows(4, sum(sizes)), []
    for row in x.numpy():
        fields = split(row, widths)
        expected.append([sum(fields[i] @ kernel @ fields[j] for (i, j), kernel in kernels.items())])
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)


def test_kfm_of_identities_is_the_fm() -> None:
    layer, x = KFM(EQUAL[1]).double(), rows(4, 10)
    with torch.no_grad():
        layer.kernels.copy_(torch.eye(2).repeat(5, 5).flatten()[layer.get_buffer("_place")])
    torch.testing.assert_close(layer(x), FM(EQUAL[1])(x))


def test_kfm_kernels_start_by_their_own_shape() -> None:
    matrix = KFM({"a": 2, "b": 94, "c": 1}).kernel_matrix().detach()
    assert torch.equal(matrix, matrix.triu(1))
    assert 0.2 < float(matrix[:2, 2:96].abs().max()) <= (6 / 96) ** 0.5
    assert float(matrix[2:96, :96].abs().max()) == 0


@pytest.mark.parametrize("widths", [EQUAL[1], UNEQUAL[1]])
def test_kfm_is_a_layer(widths: dict[str, int]) -> None:
    layer, sizes = KFM(widths), list(widths.values())
    assert count(layer) == sum(a * b for i, a in enumerate(sizes) for b in sizes[i + 1 :])
    check_layer(layer, sum(sizes))


@pytest.mark.parametrize("layer", [FM(EQUAL[1]), BiInteraction(EQUAL[1]), DotInteraction(EQUAL[1])])
def test_layers_without_weights(layer: torch.nn.Module) -> None:
    assert count(layer) == 0
    check_layer(layer, 10)
