"""Roles are compared on the same candidates, and only where the difference is more than chance."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from distill.metrics import (
    AUC,
    NDCG,
    LogLoss,
    MetricSuite,
    OrderAgreement,
    OverlapWithTeacher,
    PassedOn,
    Recall,
    ScoredRows,
    StageRecall,
)
from distill.reports.roles import Teacher, measure_roles
from tests.metrics.conftest import make_table

EVERYTHING = Teacher(None, True)
SUITE = MetricSuite(
    {
        "auc": AUC(),
        "logloss": LogLoss(),
        "recall": Recall(ks=[4]),
        "ndcg": NDCG(ks=[4]),
        "teacher": OverlapWithTeacher(ks=[4], m=2),
        "order": OrderAgreement(),
        "stages": StageRecall(ks=[4]),
        "passed": PassedOn(ks=[4]),
    },
    counts=False,
)


def world(size: int = 12, requests: int = 300, scored_from: int = 0) -> dict[str, ScoredRows]:
    """Control and distilled student of a log of which the teacher scored the candidates from a stage on; labels follow
    a truth that the teacher sees best, then the distilled student, then the control."""
    draw = torch.Generator().manual_seed(0)
    rows = make_table([size] * requests, num_tasks=1)
    n = rows.num_rows
    truth = torch.randn(n, generator=draw)
    labels = (truth + torch.randn(n, generator=draw) > 1).float()[:, None]
    depth = truth + torch.randn(n, generator=draw)
    stage = torch.where(depth > 0.9, 3, torch.where(depth > 0.3, 2, 0))
    noise = torch.randn(3, n, generator=draw)
    teacher = truth + 0.5 * noise[0]
    own = {
        "labels": labels,
        "stage": stage,
        "observed": (stage == 3)[:, None],
        "teacher_logits": teacher[:, None],
        "teacher_score": teacher,
        "teacher_valid": stage >= scored_from,
    }
    students = {"control": truth + 3 * noise[1], "distilled": truth + noise[2]}
    return {role: replace(rows, logits=s[:, None], score=s, **own) for role, s in students.items()}


def test_a_teacher_of_all_candidates_is_compared_on_all() -> None:
    found = measure_roles(SUITE, world(), ["click"], EVERYTHING)
    assert (found.scored, found.on_scored) == (1.0, {})
    assert list(found.metrics) == ["teacher", "control", "distilled"]
    metrics = found.metrics
    for name in (
        "click/auc",
        "click/recall@4",
        "teacher_recall@4_2",
        "teacher_inversion_rate",
        "stage_recall@4_exposed",
    ):
        teacher, control, distilled = (metrics[role][name] for role in ("teacher", "control", "distilled"))
        assert found.gap_recovered[name] == pytest.approx((distilled - control) / (teacher - control)), name
        assert 0.3 < found.gap_recovered[name] < 1.1, name
        assert found.differences[name].mean == pytest.approx(distilled - control)
        assert found.teacher_lead[name].mean == pytest.approx(teacher - control)
        assert found.differences[name].significant
    assert found.better == {
        "click/auc": "up",
        "click/logloss": "down",
        "click/recall@4": "up",
        "click/ndcg@4": "up",
        "teacher_recall@4_2": "up",
        "teacher_kendall_tau": "up",
        "teacher_inversion_rate": "down",
        "stage_recall@4_ranked": "up",
        "stage_recall@4_exposed": "up",
        "click/stage_recall@4": "up",
        "coverage@4": "none",
        "gini@4": "none",
    }
    assert not {"coverage@4", "gini@4"} & (found.gap_recovered.keys() | found.teacher_lead.keys())
    assert found.requests == 300
    assert found.counted["distilled"]["teacher_recall@4_2"] == 300
    assert 0 < found.counted["distilled"]["click/recall@4"] < 300


def test_a_teacher_whose_list_is_shorter_than_k_finds_nothing_by_construction() -> None:
    """It scored exposed candidates only, at most three of most requests: its recall@4 was 1.0, and a gap followed."""
    rows = world(size=8, scored_from=3)
    found = measure_roles(SUITE, rows, ["click"], EVERYTHING)
    valid = rows["control"].teacher_valid
    assert valid is not None
    long = int((valid.view(300, 8).sum(1) > 4).sum())
    assert found.scored == pytest.approx(float(valid.float().mean()))
    assert found.counted["teacher"]["click/recall@4"] <= long < 60
    assert found.counted["distilled"]["click/recall@4"] > 150
    none_is_long = {
        role: table.map(lambda t: t.view(300, 8, *t.shape[1:])[:, :4].flatten(0, 1)) for role, table in rows.items()
    }
    short = measure_roles(SUITE, none_is_long, ["click"], EVERYTHING)
    for role, values in short.metrics.items():
        for name in ("click/recall@4", "teacher_recall@4_2"):
            assert math.isnan(values[name]), (role, name)
            assert short.counted[role][name] == 0
    assert "stage_recall@4_exposed" not in short.metrics["teacher"]  # all that it scored was exposed
    assert not short.gap_recovered.keys() & {"click/recall@4", "stage_recall@4_exposed", "teacher_recall@4_2"}


def test_a_partial_teacher_is_compared_on_what_it_scored() -> None:
    rows = world(size=20, scored_from=2)
    found = measure_roles(SUITE, rows, ["click"], EVERYTHING)
    valid = rows["control"].teacher_valid
    assert valid is not None
    same = {role: SUITE.compute(table.select(valid), ["click"]) for role, table in rows.items()}
    assert found.on_scored["control"].keys() == found.on_scored["distilled"].keys()
    # the labelled candidates, and those that the teacher orders, are all scored ones: the same for everybody
    assert not found.on_scored["control"].keys() & {"click/auc", "click/logloss", "teacher_recall@4_2"}
    assert {"click/recall@4", "click/ndcg@4", "stage_recall@4_exposed"} <= found.on_scored["control"].keys()
    teacher = found.metrics["teacher"]
    name = "click/recall@4"
    for role in ("control", "distilled"):
        assert found.on_scored[role][name] == same[role][name] != found.metrics[role][name]
    share = (same["distilled"][name] - same["control"][name]) / (teacher[name] - same["control"][name])
    assert found.gap_recovered[name] == pytest.approx(share)
    assert found.differences[name].mean == pytest.approx(
        found.metrics["distilled"][name] - found.metrics["control"][name]
    )


def test_no_gap_where_the_teacher_leads_by_chance() -> None:
    rows = world()
    noise = 0.05 * torch.randn(rows["control"].num_rows, generator=torch.Generator().manual_seed(3))
    teacher = rows["control"].score + noise
    same = {role: replace(t, teacher_logits=teacher[:, None], teacher_score=teacher) for role, t in rows.items()}
    found = measure_roles(SUITE, same, ["click"], EVERYTHING)
    assert not found.teacher_lead["click/auc"].significant
    assert not found.gap_recovered.keys() & {"click/auc", "click/recall@4", "click/ndcg@4"}
    worse = {role: replace(t, teacher_logits=-t.logits, teacher_score=-t.score) for role, t in rows.items()}
    backwards = measure_roles(SUITE, worse, ["click"], EVERYTHING)
    assert backwards.teacher_lead["click/auc"].significant
    assert "click/auc" not in backwards.gap_recovered


def test_the_gap_is_of_requests_that_all_three_have_a_value_of() -> None:
    """A control that ties a request has no τ there; the others' τ of that request must not enter the gap."""
    rows = world(size=6, requests=40)
    control = rows["control"]
    tied = torch.where(control.request_id == control.request_id[0], 0.0, control.score)
    rows["control"] = replace(control, score=tied)
    found = measure_roles(SUITE, rows, ["click"], EVERYTHING)
    rest = {role: table.select(table.request_id != table.request_id[0]) for role, table in rows.items()}
    without = measure_roles(SUITE, rest, ["click"], EVERYTHING)
    assert found.counted["control"]["teacher_kendall_tau"] == 39
    assert found.counted["distilled"]["teacher_kendall_tau"] == 40
    name = "teacher_kendall_tau"
    assert found.gap_recovered[name] == pytest.approx(without.gap_recovered[name])
    assert found.differences[name] == without.differences[name]


def test_an_order_alone_has_no_probabilities_and_a_plain_model_no_teacher() -> None:
    rows = world()
    found = measure_roles(SUITE, rows, ["click"], Teacher(None, False))
    assert "click/logloss" not in found.metrics["teacher"]
    assert "click/logloss" not in found.gap_recovered
    assert "click/logloss" in found.differences
    plain = replace(rows["distilled"], teacher_logits=None, teacher_score=None, teacher_valid=None)
    alone = measure_roles(SUITE, {"model": plain}, ["click"], None)
    assert list(alone.metrics) == ["model"]
    assert (alone.gap_recovered, alone.differences, alone.scored) == ({}, {}, None)
    assert "stage_recall@4_ranked" in alone.metrics["model"]
