"""What the README claims, at full size; minutes each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from distill.data.build import build_dataset
from distill.data.datamodule import Loading, RankingDataModule
from distill.data.datasets.movielens import MovieLensSource
from distill.metrics.functional import auc
from distill.reports.compare import Statistic
from distill.reports.summary import Summary, load_summary
from tests.jobs.entry import path_arguments, run_dirs, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
SEEDS = (0, 1, 2)


needs_movielens = pytest.mark.skipif("DISTILL_DATA" not in os.environ, reason="DISTILL_DATA names no data folder")


def movielens() -> Path:
    return Path(os.environ["DISTILL_DATA"]) / "ml-100k"


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


@needs_movielens
def test_item_means_on_movielens(tmp_path: Path) -> None:
    """The baseline of the README: each film's share of likes in the training split, smoothed by ten ratings."""
    dataset = build_dataset(MovieLensSource("100k", str(movielens())), tmp_path)
    data = RankingDataModule(dataset.root, Loading(65_536))
    likes, ratings = torch.zeros(2, 2000, dtype=torch.float64)
    for batch in data.loader("train"):
        seen = batch.observed[:, 0]
        likes.index_add_(0, batch.item_id[seen], batch.labels[seen, 0].double())
        ratings.index_add_(0, batch.item_id[seen], torch.ones(int(seen.sum()), dtype=torch.float64))
    score = (likes + 10 * likes.sum() / ratings.sum()) / (ratings + 10)
    test = [(score[b.item_id[b.observed[:, 0]]], b.labels[b.observed[:, 0], 0]) for b in data.loader("test")]
    value = float(auc(torch.cat([s for s, _ in test]), torch.cat([y for _, y in test])))
    print(f"item means: like AUC {value:.4f}")
    assert 0.72 < value < 0.74


@needs_movielens
def test_movielens_students_agree_with_their_teacher(tmp_path: Path) -> None:
    result = run(
        tmp_path, 0, "+experiment=movielens_100k/two_tower_from_dcn_v2-bernoulli_kl", f"data.source={movielens()}"
    )
    assert result.metrics["teacher"]["like/auc"] > 0.785
    assert result.metrics["teacher"]["like/gauc"] > 0.71
    assert result.metrics["distilled"]["teacher_recall@100_20"] >= 0.95
    assert result.metrics["distilled"]["teacher_recall@100_20"] > result.metrics["control"]["teacher_recall@100_20"]
