from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from distill.errors import ConfigError
from distill.metrics.evaluation import Evaluation
from distill.metrics.letor import LetorNDCG
from distill.metrics.ranking import NDCG
from distill.metrics.rows import ScoredRows

Table = Callable[..., ScoredRows]


def _graded(table: Table) -> tuple[ScoredRows, np.ndarray, np.ndarray]:
    """20 requests of 8: two without relevance, two of one grade."""
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 4, (20, 8)), rng.integers(0, 5, (20, 8))
    labels[:2], labels[2:4] = 0, 2
    rows = replace(
        table([8] * 20, num_tasks=1),
        labels=torch.from_numpy(labels.reshape(-1, 1)).float(),
        logits=torch.from_numpy(scores.reshape(-1, 1)).float(),
        observed=torch.ones(160, 1, dtype=torch.bool),
    )
    return rows, labels, scores


@pytest.mark.parametrize("k", [1, 3, 8])
def test_each_convention_is_a_mean_over_queries_of_sklearns_ndcg(k: int, table: Table) -> None:
    rows, labels, scores = _graded(table)
    per_query = np.array([ndcg_score(2.0 ** labels[i : i + 1] - 1, scores[i : i + 1], k=k) for i in range(2, 20)])
    expected = {"zero": per_query.sum() / 20, "one": (per_query.sum() + 2) / 20, "skip": per_query.mean()}
    skipped = {"zero": 0, "one": 0, "skip": 2}
    for convention, value in expected.items():
        found = LetorNDCG(convention, ks=[k])(Evaluation(rows, ["relevance"]))  # type: ignore[arg-type]
        name = f"relevance/letor_ndcg_{convention}@{k}"
        assert found == {name: pytest.approx(value, rel=1e-12), f"{name}_skipped": skipped[convention]}
    ours = NDCG(ks=[k])(Evaluation(rows, ["relevance"]))
    assert ours[f"relevance/ndcg@{k}"] == pytest.approx(per_query[2:].mean(), rel=1e-12)
    assert ours[f"relevance/ndcg@{k}_skipped"] == 4


def test_labels_that_are_no_grades_are_left_out_and_named(table: Table) -> None:
    rows, _, _ = _graded(table)
    seconds = Evaluation(replace(rows, labels=rows.labels * 600), ["watch"])
    assert LetorNDCG("zero")(seconds) == {}
    assert "watch" in (LetorNDCG("zero").missing(seconds) or "")


def test_another_convention_is_refused() -> None:
    with pytest.raises(ConfigError, match="zero, one or skip"):
        LetorNDCG("half")  # type: ignore[arg-type]
