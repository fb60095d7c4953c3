"""What the README claims, at full size; minutes each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distill.reports.compare import Statistic
from distill.reports.summary import Summary, load_summary
from tests.jobs.entry import path_arguments, run_dirs, train

pytestmark = pytest.mark.slow
SEEDS = (0, 1, 2)


def run(root: Path, seed: int, *arguments: str) -> Summary:
    name = f"seed{seed}"
    train(*arguments, f"seed={seed}", f"name={name}", "callbacks.progress_bar=false", *path_arguments(root))
    return load_summary(run_dirs(root, name)[-1])


def test_quickstart_recovers_the_gap(tmp_path: Path) -> None:
    runs = [run(tmp_path, seed, "+experiment=quickstart") for seed in SEEDS]

    def mean(role: str, metric: str) -> float:
        return Statistic.of([r.metrics[role][metric] for r in runs]).mean

    for metric, least in (("click/auc", 0.4), ("teacher_recall@20_10", 0.5)):
        teacher, control, distilled = (mean(role, metric) for role in ("teacher", "control", "distilled"))
        assert teacher - control > 0.01, metric
        assert (distilled - control) / (teacher - control) >= least, metric
    for result in runs:
        best = result.differences["best_recall@20_10"]
        assert best.mean > 2 * best.standard_error


@pytest.mark.skipif("DISTILL_DATA" not in os.environ, reason="DISTILL_DATA names no folder with ml-100k/")
def test_movielens_students_agree_with_their_teacher(tmp_path: Path) -> None:
    source = f"data.source={Path(os.environ['DISTILL_DATA']) / 'ml-100k'}"
    result = run(tmp_path, 0, "+experiment=movielens_100k/two_tower_from_dcn_v2", source)
    assert result.metrics["teacher"]["like/auc"] > 0.785
    assert result.metrics["teacher"]["like/gauc"] > 0.71
    assert result.metrics["distilled"]["teacher_recall@100_20"] >= 0.95
    assert result.metrics["distilled"]["teacher_recall@100_20"] > result.metrics["control"]["teacher_recall@100_20"]
