"""Field widths are checked by name; FieldProjection brings them to one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from distill.errors import ConfigError
from distill.layers.bilinear import BilinearInteraction
from distill.layers.cin import CIN
from distill.layers.dot_interaction import DotInteraction
from distill.layers.field_attention import FieldAttention
from distill.layers.field_projection import FieldProjection
from distill.layers.fields import common_width
from distill.layers.fm import FM, BiInteraction
from distill.layers.fusion import AttentionFusion
from distill.layers.group_gate import GroupGate
from distill.layers.kfm import KFM
from distill.layers.senet import SENet
from tests.layers.checking import UNEQUAL, arrays, check_layer, count, rows, split

EQUAL_ONLY: dict[str, Callable[[dict[str, int]], nn.Module]] = {
    "FM": FM,
    "BiInteraction": BiInteraction,
    "DotInteraction": DotInteraction,
    "CIN": lambda widths: CIN(widths, [2], False, "identity"),
    "FieldAttention": lambda widths: FieldAttention(widths, 1, 1, 2, True),
    "AttentionFusion": AttentionFusion,
    "BilinearInteraction (field_all)": lambda widths: BilinearInteraction(widths, "field_all"),
    "BilinearInteraction (field_each)": lambda widths: BilinearInteraction(widths, "field_each"),
}
PAIRS: dict[str, Callable[[dict[str, int]], nn.Module]] = {
    "KFM": KFM,
    "FM": FM,
    "DotInteraction": DotInteraction,
    "BilinearInteraction (field_interaction)": lambda widths: BilinearInteraction(widths, "field_interaction"),
}


@pytest.mark.parametrize("name", EQUAL_ONLY)
def test_fields_of_other_widths_are_named_with_what_to_do(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        EQUAL_ONLY[name]({"item": 8, "age": 4, "user": 8, "price": 1})
    assert error.value.problem == f"{name} needs fields of one width."
    assert error.value.found == "age=4, price=1"
    assert error.value.expected == "8, the width of 2 of the 4 fields"
    assert "FieldProjection" in str(error.value.remedy)


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_needs_two_fields(name: str) -> None:
    with pytest.raises(ConfigError, match="too few fields") as error:
        PAIRS[name]({"item": 8})
    assert error.value.found == "item"


@pytest.mark.parametrize(
    "build", [lambda w: SENet(w, 2, "relu"), GroupGate, lambda w: FieldProjection(w, 2), lambda w: common_width("x", w)]
)
def test_fields_without_a_width_or_no_fields_are_refused(build: Callable[[dict[str, int]], object]) -> None:
    with pytest.raises(ConfigError, match="too few fields"):
        build({})
    with pytest.raises(ConfigError, match="b=0"):
        build({"a": 2, "b": 0})


@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("widths", [*UNEQUAL, {"a": 2, "b": 2}, {"a": 1, "b": 2, "c": 1, "d": 3, "e": 2}])
def test_projection_equals_numpy(widths: dict[str, int], width: int) -> None:
    torch.manual_seed(0)
    layer = FieldProjection(widths, width).double()
    assert layer.widths == dict.fromkeys(widths, width)
    assert count(layer) == sum(own * width for own in widths.values() if own != width)
    x = rows(3, sum(widths.values()))
    weights, expected = arrays(layer), []
    for row in x.numpy():
        used = dict.fromkeys(widths.values(), 0)
        for own, field in zip(widths.values(), split(row, widths), strict=True):
            expected.append(field if own == width else field @ weights[f"weights.{own}"][used[own]])
            used[own] += 1
    np.testing.assert_allclose(layer(x).detach().numpy(), np.reshape(expected, (3, -1)), atol=1e-12)


def test_projection_is_a_layer() -> None:
    check_layer(FieldProjection(UNEQUAL[1], 2), 10)
    with pytest.raises(ConfigError, match="width=0"):
        FieldProjection(UNEQUAL[1], 0)
