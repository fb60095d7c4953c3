"""Ensembles and calibrated teachers through the main job."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from distill.data.dataset import load_dataset
from distill.data.format import teacher_column
from distill.jobs.ensemble import ensemble_signals
from distill.reports.summary import Summary, load_summary
from tests.jobs.entry import path_arguments, run_dirs, run_script, tiny_arguments, train
from tests.jobs.processes import torchrun
from tests.marks import slow_except, some_fast


def tiny(root: Path) -> list[str]:
    return [a for a in tiny_arguments(root) if not a.startswith("teacher.")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two teachers of one dataset; `signals` holds what the second says, with its hidden vector."""
    root = tmp_path_factory.mktemp("teachers")
    for name, model in (("one", "dcn_v2"), ("two", "dnn")):
        train("+experiment=funnel/teacher_dcn_v2", *tiny(root), f"model={model}", f"name={name}", "seed=0")
    arguments = ["data=funnel_tiny", f"teacher.path={run_dirs(root, 'two')[0]}", "trainer=cpu", *path_arguments(root)]
    run_script("scripts/score.py", *arguments, f"out={root / 'signals'}")
    return root


def checkpoint(root: Path, name: str) -> Path:
    return run_dirs(root, name)[0] / "checkpoints" / "best.ckpt"


def distil(root: Path, name: str, *arguments: str) -> Summary:
    train(*tiny(root), "metrics=funnel", "loss=pointwise", f"name={name}", *arguments)
    return load_summary(run_dirs(root, name)[0])


def scores(folder: Path) -> np.ndarray:
    parts = sorted((folder / "test").glob("*.parquet"))
    columns = [pq.read_table(p)[teacher_column("click")].combine_chunks().flatten() for p in parts]
    return np.concatenate([c.to_numpy() for c in columns])


@pytest.mark.slow
def test_a_checkpoint_and_a_folder_teach_together(root: Path) -> None:
    members = f"teacher.members=[{checkpoint(root, 'one')},{root / 'signals'}]"
    summary = distil(root, "ensemble", "teacher=ensemble", members, "teacher.weights=[1,3]")
    assert list(summary.metrics) == ["teacher", "control", "distilled"]
    folders = {p.parent for p in (root / "cache" / "signals").glob("*/provenance.json")}
    (joint,) = (f for f in folders if f.name.startswith("ensemble-"))
    (one,) = folders - {joint}
    np.testing.assert_allclose(scores(joint), 0.25 * scores(one) + 0.75 * scores(root / "signals"), rtol=1e-5)


@pytest.mark.slow
def test_the_mean_of_probabilities_and_hidden_vectors_side_by_side(root: Path, tmp_path: Path) -> None:
    dataset = load_dataset(next((root / "data").glob("funnel-*")))
    folders = []
    for name in ("one", "two"):
        folders.append(tmp_path / name)
        arguments = ["data=funnel_tiny", f"teacher.path={checkpoint(root, name)}", "trainer=cpu", *path_arguments(root)]
        run_script("scripts/score.py", *arguments, f"out={folders[-1]}", "hidden=[body]")
    joint = ensemble_signals(folders, None, "probabilities", dataset, tmp_path / "cache")
    mean = np.mean([1 / (1 + np.exp(-scores(folder).astype(float))) for folder in folders], axis=0)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores(joint).astype(float))), mean, rtol=1e-5)
    file = sorted((joint / "val").glob("*.parquet"))[0].name
    hidden = [pq.read_table(f / "val" / file)["hidden_body"].to_pylist() for f in (*folders, joint)]
    assert hidden[2][0][0] == hidden[0][0][0] + hidden[1][0][0]
    before = (joint / "val" / file).stat().st_mtime_ns
    assert ensemble_signals(folders, None, "probabilities", dataset, tmp_path / "cache") == joint
    assert (joint / "val" / file).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    some_fast(
        [
            (["teacher.weights=[1]"], "positive weight for each"),
            (["teacher.weights=[1,0]"], "positive weight for each"),
            (["teacher.mean=median"], "teacher.mean expected: logits, probabilities"),
        ],
        3,
    ),
)
def test_what_is_no_ensemble_is_refused(
    root: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    members = f"teacher.members=[{root / 'signals'},{root / 'signals'}]"
    with pytest.raises(SystemExit):
        train(*tiny(root), "loss=pointwise", "name=wrong", "teacher=ensemble", members, *arguments)
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("method", "signals"),
    slow_except(product(["temperature", "platt", "isotonic"], ["cached", "online"]), ("platt", "cached")),
)
@pytest.mark.slow
def test_a_calibrated_teacher_says_other_probabilities_in_the_same_order(root: Path, method: str, signals: str) -> None:
    path = [f"teacher.path={checkpoint(root, 'one')}", "teacher=checkpoint", f"teacher.signals={signals}"]
    plain = distil(root, f"plain-{signals}", *path)
    found = distil(root, f"{method}-{signals}", *path, f"teacher.calibration={method}")
    before, after = plain.metrics["teacher"], found.metrics["teacher"]
    assert after["click/auc"] == pytest.approx(before["click/auc"], abs=2e-3 if method == "isotonic" else 1e-6)
    assert after["click/pcoc"] != pytest.approx(before["click/pcoc"], abs=1e-4)
    assert found.metrics["distilled"]["click/logloss"] != plain.metrics["distilled"]["click/logloss"]


@pytest.mark.slow
def test_two_processes_write_an_ensemble_once_and_calibrate_it_alike(root: Path, tmp_path: Path) -> None:
    """Weights of their own, so that no other test has written it."""
    members = f"teacher.members=[{run_dirs(root, 'one')[0]},{root / 'signals'}]"
    said = ["teacher=ensemble", members, "teacher.calibration=isotonic", "control.enabled=false"]
    alone = distil(root, "alone", *said, "teacher.weights=[2,5]", "trainer.limit_train_batches=2")
    arguments = [a for a in tiny(root) if a != "trainer=cpu"] + ["metrics=funnel", "loss=pointwise", *said]
    few = ["trainer.limit_train_batches=2", f"paths.cache={tmp_path}", "teacher.weights=[2,5]", "name=together"]
    done = torchrun("tests/jobs/watched_teacher.py", str(tmp_path), *arguments, "trainer=ddp_sim", *few)
    assert done.status == 0, done.errors[-3000:]
    written = (tmp_path / "written.txt").read_text().splitlines()
    assert written == ["0 train", "0 val", "0 test"]
    first, second = (torch.load(tmp_path / f"maps_{rank}.pt", weights_only=True) for rank in range(2))
    assert first.keys() == second.keys() == {0, 1, 2}
    for task, points in first.items():
        assert points[0].numel() > 2, "nothing was fitted"
        assert all(torch.equal(a, b) for a, b in zip(points, second[task], strict=True))
    (together,) = run_dirs(root, "together")
    found = load_summary(together).metrics
    assert list(found) == ["teacher", "distilled"]
    assert found["teacher"] == pytest.approx(alone.metrics["teacher"], nan_ok=True, rel=1e-5)
    (one,) = (f.parent for f in tmp_path.glob("signals/ensemble-*/provenance.json"))
    (other,) = (f.parent for f in (root / "cache" / "signals").glob(f"{one.name}/provenance.json"))
    np.testing.assert_array_equal(scores(one), scores(other))


@pytest.mark.slow
def test_two_processes_calibrate_a_teacher_in_the_step_alike(root: Path, tmp_path: Path) -> None:
    said = ["teacher=checkpoint", f"teacher.path={checkpoint(root, 'two')}", "teacher.signals=online"]
    said += ["teacher.calibration=platt", "control.enabled=false", "trainer.limit_train_batches=2"]
    alone = distil(root, "alone_online", *said)
    arguments = [a for a in tiny(root) if a != "trainer=cpu"] + ["metrics=funnel", "loss=pointwise", *said]
    done = torchrun("tests/jobs/watched_teacher.py", str(tmp_path), *arguments, "trainer=ddp_sim", "name=both_online")
    assert done.status == 0, done.errors[-3000:]
    first, second = (torch.load(tmp_path / f"maps_{rank}.pt", weights_only=True) for rank in range(2))
    for task, points in first.items():
        assert points[1].tolist() != points[0].tolist(), "the identity"
        assert all(torch.equal(a, b) for a, b in zip(points, second[task], strict=True))
    found = load_summary(run_dirs(root, "both_online")[0]).metrics["teacher"]
    assert found == pytest.approx(alone.metrics["teacher"], nan_ok=True, rel=1e-5)
