"""Every benchmark runs from the command line at a small size, prints a table and writes its rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.interleave import Series, interleave
from tests.jobs.entry import run_script
from tests.marks import slow_except

SMALL = {
    "train": ["benchmark.rows=1000", "benchmark.turns=1", "benchmark.parts=[two_tower]"],
    "gpu": ["benchmark.rows=1000", "benchmark.turns=1", "benchmark.parts=[two_tower]", "benchmark.batches=[256]"],
    "reader": ["benchmark.rows=3000", "benchmark.turns=1"],
    "predict": ["benchmark.rows=20000", "benchmark.turns=1"],
    "serving": [
        "benchmark.models=[two_tower]",
        "benchmark.items=500",
        "benchmark.candidates=[20]",
        "benchmark.turns=3",
    ],
    "bundle": ["benchmark.models=[two_tower]", "benchmark.turns=2"],
    "exchange": [
        "benchmark.worlds=[2,4]",
        "benchmark.rows=[10]",
        "benchmark.ids=100",
        "benchmark.dense=10",
        "benchmark.turns=2",
    ],
    "metrics": ["benchmark.candidates=2000", "benchmark.requests=200"],
    "diversity": ["benchmark.candidates=60", "benchmark.k=20", "benchmark.turns=1", "benchmark.requests=2"],
    "losses": ["benchmark.candidates=[50,200]"],
}


def _run(root: Path, name: str, *arguments: str) -> list[dict[str, Any]]:
    folders = [f"paths.{kind}={root / kind}" for kind in ("data", "cache", "runs")]
    run_script("scripts/benchmark.py", f"benchmark={name}", *arguments, *folders)
    (path,) = (root / "runs" / "benchmark" / name).glob("*/benchmark.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["machine"]["torch"]
    rows: list[dict[str, Any]] = report["rows"]
    return rows


@pytest.mark.parametrize("name", slow_except(SMALL, "metrics", "diversity"))
def test_runs(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _run(tmp_path, name, *SMALL[name])
    assert all(row["value"] > 0 for row in rows if row["unit"] not in ("share", "of its forward", "MB more"))
    assert any(row["ratio"] is not None or row["target"] is not None for row in rows)
    assert rows[0]["name"].split("/")[0] in capsys.readouterr().out


class _Trees:
    """Stands in for LightGBM: says the first number that it reads, and is better with other settings."""

    def __init__(self, **settings: Any) -> None:
        self.best_iteration_ = settings["n_estimators"]
        self._scale = settings.get("scale", -1.0)

    def fit(self, features: Any, labels: Any, **options: Any) -> None:
        assert options["categorical_feature"] == list(range(options["eval_set"][0][0].shape[1] - 13))

    def predict(self, features: Any, raw_score: bool) -> Any:
        return self._scale * features[:, -13]


def test_boosted_trees_choose_on_validation_and_are_measured_on_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = SimpleNamespace(LGBMClassifier=_Trees, early_stopping=lambda rounds, verbose: rounds)
    monkeypatch.setitem(sys.modules, "lightgbm", library)
    arguments = [
        'benchmark.data=["data=benchmark_flat","data.adapter.rows=3000"]',
        *(f"~benchmark.settings.{name}" for name in ("slow", "wide", "cautious")),
        "+benchmark.settings.other={scale: 0.5}",
        "benchmark.seeds=[0,1]",
    ]
    found = {row["name"]: row["value"] for row in _run(tmp_path, "boosted_trees", *arguments)}
    plain, other = "boosted_trees/defaults", "boosted_trees/other (best on validation)"
    assert found[f"{plain}/AUC"] == pytest.approx(1 - found[f"{other}/AUC"])
    assert found[f"{plain}/logloss"] > found[f"{other}/logloss"]
    assert found[f"{other}/trees"] == 1000
    assert {name for name in found if name.startswith(other)} == {
        f"{other}/{what}" for what in ("AUC", "AUC, deviation", "logloss", "logloss, deviation", "trees")
    }


@pytest.mark.slow
def test_engines(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    rows = _run(tmp_path, "engines", "benchmark.rows=5000", "benchmark.files=4", "benchmark.turns=1")
    assert [row["ratio"] is not None for row in rows] == [False, False, True, False]


@pytest.mark.slow
def test_long_requests_are_measured_in_time_and_memory(tmp_path: Path) -> None:
    rows = _run(tmp_path, "losses", "benchmark.terms={}", "benchmark.candidates=[300]", "benchmark.requests=20")
    units = {row["name"]: row["unit"] for row in rows}
    for term in ("ranknet", "relational", "sampled_softmax", "de", "lambdarank"):
        assert units[f"losses/{term}/300 candidates"] == "s"
        assert units[f"losses/{term}/300 candidates/memory"] == "MB more"


@pytest.mark.slow
def test_every_comparison_of_training_runs(tmp_path: Path) -> None:
    rows = _run(tmp_path, "train", "benchmark.rows=50000", "benchmark.turns=1")
    assert len(rows) == 3 * 3 + 4 * 2 + 1 + 6 + 4


@pytest.mark.slow
def test_scale_runs_in_processes_of_its_own(tmp_path: Path) -> None:
    rows = _run(tmp_path, "scale", "benchmark.rows=[3000,6000]", "benchmark.ids=[3000,6000]", "benchmark.turns=1")
    assert {row["unit"] for row in rows} == {"rows/s", "GB", "ms", "s"}


def test_turns_reverse_and_ratios_are_of_the_same_turn() -> None:
    order: list[str] = []
    values = iter([2.0, 1.0, 3.0, 6.0, 10.0, 4.0])

    def measure(name: str) -> float:
        order.append(name)
        return next(values)

    found = interleave({"a": lambda: measure("a"), "b": lambda: measure("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found["a"] == Series((2.0, 6.0, 10.0))
    assert found["a"].over(found["b"]) == 2.0
    assert found["a"].typical == 6.0
