"""Every experiment composes, instantiates and runs a few steps end to end through the real entry point."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from distill.reports.summary import load_summary
from tests.data.archives import WRITERS
from tests.jobs.archives import write_letor, write_movielens_100k, write_mslr
from tests.jobs.entry import ROOT, path_arguments, run_dirs, run_script, train
from tests.marks import slow_except

FOLDER = ROOT / "conf" / "experiment"
EXPERIMENTS = sorted(
    str(p.relative_to(FOLDER).with_suffix("")) for p in FOLDER.rglob("*.yaml") if p.stem not in ("base", "distilled")
)
WITH_PAST = "funnel/past_vectors"
FAST = ("quickstart", "funnel/two_tower_from_dcn_v2-cotrained")
FEW_STEPS = ["+debug=quick", "trainer=cpu", "callbacks.progress_bar=false", "cost.enabled=false", "name=run"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture(scope="module")
def data(root: Path) -> dict[str, list[str]]:
    """What makes each data set small, by the folder of its experiments."""
    small = ["data.loader.batch_candidates=64", "teacher.model.net.embedding_dim=4", "model.net.embedding_dim=4"]
    archives = {name: [f"data.source={write(root / name)}", *small] for name, write in WRITERS.items()}
    archives["recflow"].remove("teacher.model.net.embedding_dim=4")
    movielens = write_movielens_100k(root / "ml-100k")
    return {
        **archives,
        "funnel": ["data=funnel_tiny"],
        "quickstart": ["data=funnel_tiny"],
        "mslr": [f"data.source={write_mslr(root / 'mslr')}", "data.loader.batch_candidates=64"],
        "lightgbm_rank": [f"data.source={write_letor(root / 'letor')}", "data.loader.batch_candidates=64"],
        "movielens_100k": [f"data.source={movielens}", "data.adapter.negatives=10", "data.loader.batch_candidates=256"],
    }


@pytest.fixture(scope="module")
def with_past(root: Path) -> list[str]:
    """A log with vectors of the past, and the teacher that they are of."""
    funnel = ["data=funnel_tiny", *path_arguments(root)]
    train("+experiment=funnel/teacher_dcn_v2", *funnel, *FEW_STEPS, "name=teacher_of_past")
    teacher = f"teacher.path={run_dirs(root, 'teacher_of_past')[0]}"
    run_script("scripts/score.py", *funnel, teacher, "hidden=[body]", "hidden_width=3", f"out={root / 'said'}")
    run_script("scripts/past_vectors.py", *funnel, f"signals={root / 'said'}", f"out={root / 'past'}")
    files = {"source": "log", "schema": "schema.yaml", "items": "items.parquet"}
    small = ["data.loader.batch_candidates=64", "model.net.embedding_dim=4"]
    return [teacher, *(f"data.{key}={root / 'past' / name}" for key, name in files.items()), *small]


@pytest.mark.parametrize("experiment", slow_except(EXPERIMENTS, *FAST))
def test_runs_a_few_steps(
    experiment: str, root: Path, data: dict[str, list[str]], request: pytest.FixtureRequest
) -> None:
    folder = root / experiment.replace("/", "_")
    own = request.getfixturevalue("with_past") if experiment == WITH_PAST else data[experiment.split("/")[0]]
    arguments = [*own, *FEW_STEPS, *path_arguments(root)]
    train(f"+experiment={experiment}", *arguments, f"paths.runs={folder / 'runs'}")
    summary = load_summary(run_dirs(folder, "run")[0])
    roles = _roles(experiment)
    assert list(summary.metrics) == roles
    for role in roles:
        assert any(
            math.isfinite(value) for name, value in summary.metrics[role].items() if name.endswith(("/auc", "/ndcg@10"))
        )
    fitted = {"model": 0} if experiment.endswith("/quality_score") else {}
    trained = roles[1:] if experiment in ("recflow", "mslr", WITH_PAST) else roles  # the teacher is there
    assert summary.steps == {**dict.fromkeys(trained, 3), **fitted}


def _roles(experiment: str) -> list[str]:
    if "_from_" in experiment or experiment in ("quickstart", WITH_PAST, *WRITERS, "mslr"):
        return ["teacher", "control", "distilled"]
    measured_beside = ("/prerankers/", "funnel/two_tower-", "funnel/cold-", "funnel/interact_rank-")
    return ["teacher", "model"] if any(part in experiment for part in measured_beside) else ["model"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_says_what_it_shows_and_how_to_run_it(experiment: str) -> None:
    text = (FOLDER / f"{experiment}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# @package _global_\n# ")
    assert f"python train.py +experiment={experiment}" in text
    assert yaml.safe_load(text)["name"] == experiment
