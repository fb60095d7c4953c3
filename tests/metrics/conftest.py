from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import settings

from distill.metrics.rows import ScoredRows

settings.register_profile("metrics", deadline=None, max_examples=60)
settings.load_profile("metrics")


def make_table(sizes: list[int], num_tasks: int = 2, seed: int = 0, teacher: bool = True) -> ScoredRows:
    """A canonical table with ties in every order and unobserved labels."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(sizes)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).round(decimals=1)

    request = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.int64))
    observed = torch.rand(n, num_tasks, generator=generator) < 0.7
    labels = (torch.rand(n, num_tasks, generator=generator) < 0.3).float() * observed
    return ScoredRows(
        row=torch.arange(n),
        request_id=request * 7 + 3,
        user_id=request % 4,
        item_id=torch.randint(0, 50, (n,), generator=generator),
        logits=normal(n, num_tasks),
        score=normal(n),
        labels=labels,
        observed=observed,
        stage=torch.randint(0, 4, (n,), generator=generator),
        weight=torch.ones(n),
        columns={"utility": normal(n)},
        teacher_logits=normal(n, num_tasks) if teacher else None,
        teacher_score=normal(n) if teacher else None,
        teacher_valid=torch.ones(n, dtype=torch.bool) if teacher else None,
    )


@pytest.fixture
def table() -> Callable[..., ScoredRows]:
    return make_table
