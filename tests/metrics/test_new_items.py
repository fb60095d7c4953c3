"""Metrics of items that the encodings do not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pytest
import torch

from distill.batch import MISSING_KEY
from distill.data.known_items import known_items
from distill.encodings import FittedEncodings
from distill.encodings.tables import FittedHash, FittedVocabulary
from distill.metrics import AUC, MetricSuite, NewItems, ScoredRows, give_known_items
from distill.schema import parse_schema
from tests.metrics.test_long_tail import TASKS, untied

Table = Callable[..., ScoredRows]


def test_new_items_by_hand(table: Table) -> None:
    rows = untied(table([9] * 40))
    item = torch.arange(rows.num_rows) % 6 * 10
    utility = rows.teacher_score
    assert utility is not None
    rows = replace(rows, item_id=item.masked_fill(item == 50, MISSING_KEY), columns={"utility": utility})
    suite = MetricSuite({"new": NewItems(tasks=["click"], ks=(3,), m=2, column="utility")})
    assert suite.compute(rows, TASKS) == {}
    assert "new" in suite.missing(rows, TASKS)
    give_known_items(suite.metrics, torch.tensor([0, 10, 20, 40]))  # 30 is new, and nobody knows what item 50 was
    found = suite.compute(rows, TASKS)
    new = rows.item_id == 30
    kept = replace(rows, observed=rows.observed & new.unsqueeze(1))
    auc = MetricSuite({"auc": AUC()}).compute(kept, TASKS)["click/auc"]
    wanted = passed = 0
    for request in range(40):
        own = slice(9 * request, 9 * request + 9)
        best = set(utility[own].topk(2).indices.tolist())
        first = set(rows.score[own].topk(3).indices.tolist())
        of_new = {i for i in best if bool(new[own][i])}
        wanted, passed = wanted + len(of_new), passed + len(of_new & first)
    share = passed / wanted
    assert found["click/auc_new"] == pytest.approx(auc)
    assert found["teacher_recall@3_2_new"] == found["best_recall@3_2_new"] == pytest.approx(share)
    assert set(found) == {"click/auc_new", "teacher_recall@3_2_new", "best_recall@3_2_new"}


def test_known_items_are_the_keys_of_the_vocabulary() -> None:
    fields = [{"name": "sku", "column": "item", "side": "candidate", "kind": "id"}]
    schema = parse_schema(
        {"name": "s", "layout": "flat", "keys": {"item": "item"}, "fields": fields, "tasks": [{"name": "y"}]}, "s"
    )
    counts = torch.ones(2, dtype=torch.int64).numpy()
    found = known_items(schema, FittedEncodings({"sku": FittedVocabulary(pa.array([7, 3]), counts)}, {}))
    assert found is not None
    assert found.tolist() == [7, 3]
    assert known_items(schema, FittedEncodings({"sku": FittedHash(3, "int")}, {})) is None
