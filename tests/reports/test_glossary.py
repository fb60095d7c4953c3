"""Every metric that a table shows is explained, in report pages and in docs/glossary.md."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from distill import metrics
from distill.reports import feedback, page_ways, table
from distill.reports.comparison_table import COSTS
from distill.reports.glossary import ENTRIES, PAGE, entry_of, glossary_markdown
from tests.jobs.entry import ROOT

NEEDED: dict[str, list[dict[str, Any]]] = {
    "GroupedAUC": [{"by": "user"}, {"by": "request"}],
    "Recall": [{"by": "logit"}, {"by": "score"}],
    "OverlapWithColumn": [{"column": "utility", "name": "best_recall"}],
    "LetorNDCG": [{"without_relevant": name} for name in ("zero", "one", "skip")],
    "StageRecall": [{"stages": ["preranked", "ranked", "exposed"]}],
    "NewItems": [{"column": "utility"}],
}
CLASSES = [name for name in metrics.__all__ if hasattr(getattr(metrics, name), "goals") and name != "Metric"]


@pytest.mark.parametrize("name", CLASSES)
def test_every_result_of_every_metric_is_explained_with_its_better(name: str) -> None:
    for arguments in NEEDED.get(name, [{}]):
        for stem, goal in getattr(metrics, name)(**arguments).goals.items():
            entry = entry_of(stem)
            assert entry is not None, stem
            assert entry.better == {"none": "neither"}.get(str(goal.plain), str(goal.plain).removesuffix(".0")), stem
            assert entry_of(f"val/click/{stem}") is (entry if "/" in entry.name else entry_of(f"click/{stem}"))


def test_every_metric_of_the_configs_is_explained() -> None:
    named = [
        (path.name, node)
        for path in (ROOT / "conf" / "metrics").glob("*.yaml")
        for node in (yaml.safe_load(path.read_text()).get("metrics") or {}).values()
    ]
    targets = {node["_target_"].rsplit(".", 1)[-1] for _, node in named if "_target_" in node}
    assert targets <= set(CLASSES)
    own = [node["name"] for _, node in named if "name" in node]
    assert own
    assert all(entry_of(f"{name}@20_10") is not None for name in own)


@pytest.mark.parametrize(
    "name",
    [
        *(label for label, *_ in table.COST_ROWS),
        *(cost for _, cost, *_ in table.COST_ROWS),
        *(label.replace("\n", " ") for label in COSTS),
        *page_ways.TITLES.values(),
        *feedback.TITLES.values(),
        *("parameters", "steps", "seconds", "gap recovered", "distilled − control", "val", "train/loss"),
        *("shown recall", "ranked recall", "joint R@10@100", "R@10@100", "value kept"),
        *("teacher_recall@k_10", "click/recall@k", "click/stage_recall@k", "click/gauc_skipped"),
    ],
)
def test_every_other_column_of_a_table_is_explained(name: str) -> None:
    assert entry_of(name) is not None


def test_the_page_is_what_the_program_says() -> None:
    assert glossary_markdown() in (ROOT / PAGE).read_text()
    assert len({entry.anchor for entry in ENTRIES}) == len(ENTRIES)
    assert all(re.fullmatch("up|down|neither|1|the metric's", entry.better) for entry in ENTRIES)


def test_a_metric_of_ones_own_has_no_entry() -> None:
    assert entry_of("click/first_is_positive") is None
