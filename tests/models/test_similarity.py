"""The logits of a two-tower at its start, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from distill.errors import ConfigError
from distill.models.prerankers.similarity import Kind, Similarity
from tests.batches import make_schema
from tests.models.composing import build

U, V = torch.randn(2, 5, 2, 4, generator=torch.Generator().manual_seed(0)).unbind()


@pytest.mark.parametrize(
    ("kind", "temperature", "scale"),
    [("cosine", None, 5.0), ("dot", None, 1 / math.sqrt(4)), ("cosine", 0.25, 4.0), ("dot", 2.0, 0.5)],
)
def test_a_logit_is_the_similarity_over_the_temperature(kind: Kind, temperature: float | None, scale: float) -> None:
    similarity = Similarity(kind, 2, 4, temperature)
    assert (len(list(similarity.parameters())) == 2) == (temperature is None)
    raw = torch.cosine_similarity(U, V, dim=2) if kind == "cosine" else (U * V).sum(2)
    with torch.no_grad():
        similarity.bias.copy_(torch.tensor([0.5, -1.0]))
    found = similarity(similarity.request(U), similarity.candidate(V))
    torch.testing.assert_close(found, scale * raw + torch.tensor([0.5, -1.0]))


def test_what_is_no_similarity_is_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown similarity"):
        Similarity("euclid", 1, 4, None)  # type: ignore[arg-type]
    for wrong in (0.0, -1.0):
        with pytest.raises(ConfigError, match="temperature must be positive"):
            Similarity("dot", 1, 4, wrong)
    Similarity("dot", 1, 4, 0.5)


def test_the_heads_of_int_tower_start_as_a_mean_of_scaled_products() -> None:
    model = build("int_tower", make_schema().serving_view(), "model.net.num_heads=3", "model.net.hidden_units=[8,6]")
    torch.testing.assert_close(model.log_scale.exp(), torch.full((2,), 1 / (2 * 3 * math.sqrt(4))))  # type: ignore[operator]
