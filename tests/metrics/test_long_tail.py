from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.batch import MISSING_KEY
from distill.data.popularity import ItemExposures
from distill.errors import ConfigError
from distill.metrics import AUC, MetricSuite, PassedOn, PopularityBands, ScoredRows, give_exposures
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.inequality import gini

Table = Callable[..., ScoredRows]
TASKS = ("click", "buy")


def untied(rows: ScoredRows) -> ScoredRows:
    draw = torch.Generator().manual_seed(1)
    score, teacher = torch.randn(2, rows.num_rows, generator=draw)
    return replace(rows, score=score, teacher_score=teacher)


def exposures(*counts: int) -> ItemExposures:
    found = torch.tensor(counts)
    return ItemExposures(torch.arange(len(counts))[found > 0] * 10, found[found > 0])


def test_exposures_of_unknown_items_are_0() -> None:
    assert exposures(4, 0, 7).of(torch.tensor([20, 10, 0, 99, -3])).tolist() == [7, 0, 4, 0, 0]
    assert exposures().of(torch.tensor([1])).tolist() == [0]


def test_bands_hold_their_shares_and_keep_equal_items_together() -> None:
    assert exposures(50, 20, 10, 10, 5, 5).bands((0.5, 0.8)) == (50, 10)
    assert exposures(10, 10, 10, 10).bands((0.5, 0.8)) == (10, 10)  # all equal: all are head
    assert exposures().bands((0.5, 0.8)) == (1, 1)


@pytest.mark.parametrize("shares", [(0.8, 0.5), (0.0, 0.5), (0.5, 1.0)])
def test_bad_shares_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="popularity bands"):
        exposures(1, 2).bands(shares)


def test_bands_equal_a_count_by_hand(table: Table) -> None:
    rows = untied(table([9] * 60))
    rows = replace(rows, item_id=torch.arange(rows.num_rows) % 13 * 10)
    known = exposures(60, 40, 30, 20, 10, 9, 8, 7, 6, 5, 4, 3)  # item 120 was never exposed
    metric = PopularityBands(shares=(0.5, 0.8), ks=(3,), m=2)
    suite = MetricSuite({"bands": metric})
    assert suite.compute(rows, TASKS) == {}
    assert "bands" in suite.missing(rows, TASKS)
    give_exposures(suite.metrics, known)
    found = suite.compute(rows, TASKS)
    head, torso = known.bands((0.5, 0.8))
    count = known.of(rows.item_id)
    band = torch.where(count >= head, 0, torch.where(count >= torso, 1, 2))
    assert (band == 2)[rows.item_id == 120].all()
    assert band.unique().tolist() == [0, 1, 2]
    for number, name in enumerate(("head", "torso", "tail")):
        of_band = rows.select(band == number)
        aucs = MetricSuite({"auc": AUC()}).compute(of_band, TASKS)
        assert found[f"click/auc_{name}"] == pytest.approx(aucs["click/auc"], nan_ok=True)
        wanted = hit = 0
        for request in rows.request_id.unique():
            (at,) = (rows.request_id == request).nonzero(as_tuple=True)
            if at.numel() <= 3 or rows.teacher_score is None or rows.teacher_valid is None:
                continue
            at = at[rows.teacher_valid[at]]
            if at.numel() <= 3:
                continue
            best = at[rows.teacher_score[at].argsort(descending=True)[:2]]
            first = set(at[rows.score[at].argsort(descending=True)[:3]].tolist())
            chosen = [i for i in best.tolist() if band[i] == number]
            wanted, hit = wanted + len(chosen), hit + len(first & set(chosen))
        assert found[f"teacher_recall@3_2_{name}"] == pytest.approx(hit / wanted)


def test_coverage_and_gini_equal_numpy(table: Table) -> None:
    rows = untied(table([7] * 30))
    rows = replace(rows, item_id=torch.arange(rows.num_rows) % 11)
    found = MetricSuite({"passed": PassedOn(ks=(2,))}).compute(rows, TASKS)
    passed = np.zeros(11)
    for request in rows.request_id.unique():
        (at,) = (rows.request_id == request).nonzero(as_tuple=True)
        for i in at[rows.score[at].argsort(descending=True)[:2]]:
            passed[int(rows.item_id[i])] += 1
    differences = np.abs(passed[:, None] - passed[None, :]).sum()
    assert found["coverage@2"] == pytest.approx((passed > 0).mean())
    assert found["gini@2"] == pytest.approx(differences / (2 * passed.size * passed.sum()))


def test_requests_that_pass_on_everything_are_left_out(table: Table) -> None:
    found = MetricSuite({"passed": PassedOn(ks=(5,))}).compute(table([3] * 4), TASKS)
    assert np.isnan(found["coverage@5"])
    assert np.isnan(found["gini@5"])


def test_gini_of_equal_and_of_one_owner() -> None:
    assert float(gini(torch.ones(7))) == pytest.approx(0)
    assert float(gini(torch.tensor([0.0, 0.0, 0.0, 8.0]))) == pytest.approx(0.75)


def test_exposures_are_counted_from_the_training_split(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from distill.data.popularity import _count

    table = pa.table({"key_item": [[5, 7, 5], [7], []], "stage": [[3, 3, 0], [3], []]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    flat = pa.table({"key_item": [9, 5], "stage": [3, 3]})
    pq.write_table(flat, tmp_path / "b.parquet")
    found = _count(((tmp_path / "a.parquet", None), (tmp_path / "b.parquet", None)))
    assert found.item_id.tolist() == [5, 7, 9]
    assert found.count.tolist() == [2, 2, 1]


def test_unknown_items_are_in_no_band_and_not_counted(table: Table) -> None:
    rows = untied(table([9] * 20))
    unknown = torch.arange(rows.num_rows) % 3 == 0
    rows = replace(rows, item_id=torch.where(unknown, MISSING_KEY, rows.item_id))
    suite = MetricSuite({"bands": PopularityBands(ks=(3,), m=2), "passed": PassedOn(ks=(3,))})
    give_exposures(suite.metrics, exposures(60, 40, 30, 20, 10))
    found = suite.compute(rows, TASKS)
    score = torch.where(unknown, rows.score.min() - 1, rows.score)  # passed on last: what is counted is the others
    last = suite.compute(replace(rows, score=score), TASKS)
    items = rows.item_id[~unknown].unique().numel()
    passed = set()
    for request in rows.request_id.unique():
        (own,) = ((rows.request_id == request) & ~unknown).nonzero(as_tuple=True)
        passed |= set(rows.item_id[own[score[own].argsort(descending=True)[:3]]].tolist())
    assert last["coverage@3"] == pytest.approx(len(passed) / items)
    kept = ~unknown & rows.observed[:, 0] & ~torch.isin(rows.item_id, torch.arange(3) * 10)  # head and torso
    tail = AUC()(Evaluation(rows.select(kept.nonzero().flatten()), TASKS))["click/auc"]
    assert found["click/auc_tail"] == pytest.approx(tail)


def test_unknown_items_have_no_exposures(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from distill.data.popularity import _count

    table = pa.table({"key_item": [[MISSING_KEY, 7], [MISSING_KEY]], "stage": [[3, 3], [3]]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = _count(((tmp_path / "a.parquet", None),))
    assert (found.item_id.tolist(), found.count.tolist()) == ([7], [1])
