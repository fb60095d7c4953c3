"""Probabilities of a model that learned from a log which kept a share of its negatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from distill.errors import SchemaError
from distill.models.score import RankingScore, predictions
from distill.schema import Schema, dump_schema, parse_schema
from distill.serving.scores import Scores, ranking_score
from tests.batches import make_schema

LOGITS = torch.tensor([[0.5, -1.0], [1.0, 3.0], [-4.0, 0.0]])


def sampled(**rates: float) -> Schema:
    return parse_schema({**make_schema().model_dump(mode="json"), "negative_sampling": rates}, "test")


def test_the_correction_is_that_of_the_paper() -> None:
    p, w = expit(LOGITS.double().numpy()), 0.1
    by_hand = p[:, 0] / (p[:, 0] + (1 - p[:, 0]) / w)
    found = predictions(sampled(click=w), LOGITS)
    np.testing.assert_allclose(found[:, 0].numpy(), by_hand, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1].numpy(), p[:, 1], rtol=1e-5)
    assert sampled(click=w).log_rates == (pytest.approx(np.log(w)), 0.0)


def test_a_number_worked_out_by_hand() -> None:
    """Of 10 positives and 90 negatives kept at 1/9, the log has 10 of each: its ½ is a tenth of the world."""
    assert float(predictions(sampled(click=1 / 9), torch.zeros(1, 2))[0, 0]) == pytest.approx(0.1)


def test_the_ranking_score_is_of_corrected_probabilities_in_training_and_in_serving() -> None:
    schema = sampled(click=0.05, like=0.5)
    wanted = np.log(predictions(schema, LOGITS).double().numpy()).sum(1)
    np.testing.assert_allclose(RankingScore(schema)(LOGITS, {}).numpy(), wanted, rtol=1e-5)
    serving = ranking_score(schema, LOGITS.numpy(), {})
    np.testing.assert_allclose(serving, wanted, rtol=1e-5)
    scores = Scores(LOGITS.numpy(), serving, schema)
    for k, task in enumerate(schema.task_names):
        np.testing.assert_allclose(scores.predictions[task], predictions(schema, LOGITS)[:, k].numpy(), rtol=1e-6)


def test_the_order_of_two_tasks_depends_on_the_rates() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    plain, corrected = (RankingScore(schema)(logits, {}) for schema in (make_schema(), sampled(click=0.01)))
    assert bool(plain[1] > plain[0])
    assert bool(corrected[0] > corrected[1])


def test_without_rates_nothing_changes() -> None:
    schema = make_schema()
    assert "negative_sampling" not in dump_schema(schema)
    assert torch.equal(predictions(schema, LOGITS), LOGITS.sigmoid())
    assert torch.equal(RankingScore(schema)(LOGITS, {}), RankingScore(sampled(click=1.0))(LOGITS, {}))


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"clikc": 0.1}, "'clikc' is not a binary task; these are click, like"),
        ({"click": 0.0}, "greater than 0"),
        ({"click": 1.5}, "less than or equal to 1"),
        ({"click": "often"}, "valid number"),
    ],
)
def test_rates_that_cannot_be_are_refused(rates: dict[str, float], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        sampled(**rates)


def test_negatives_are_of_binary_tasks() -> None:
    data = make_schema().model_dump(mode="json")
    data["tasks"][1]["kind"] = "graded"
    with pytest.raises(SchemaError, match="'like' is not a binary task; these are click"):
        parse_schema({**data, "negative_sampling": {"like": 0.5}}, "test")


def test_positions_of_a_teacher_have_no_rate() -> None:
    teacher = {"columns": {"click": "place"}, "kind": "position", "negative_sampling": {"click": 0.5}}
    with pytest.raises(SchemaError, match="does not apply to positions"):
        parse_schema({**make_schema().model_dump(mode="json"), "teacher": teacher}, "test")


def test_pcoc_of_corrected_predictions_is_1_on_the_whole_log() -> None:
    """The best model of a sampled log, on the log before it was sampled."""
    rng = np.random.default_rng(0)
    n, rate = 400_000, 0.05
    cell = rng.integers(0, 20, n)
    world = expit(-4 + 3 * np.sin(np.arange(20)))
    label = rng.random(n) < world[cell]
    kept = label | (rng.random(n) < rate)
    positives, rows = (np.bincount(cell[kept], weights, 20) for weights in (label[kept], None))
    learned = torch.from_numpy(logit(positives / rows)).float()[cell]  # what cross-entropy of the sampled log leads to
    logits = torch.stack([learned, learned], 1)
    found = predictions(sampled(click=rate), logits).double().sum(0).numpy() / label.sum()
    error = 1 / np.sqrt(label.sum())
    assert abs(found[0] - 1) < 3 * error
    assert found[1] > 5
