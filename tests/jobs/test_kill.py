"""kill -9 at any step, then resume=last: weights, optimiser, data position, callbacks and metric history are equal."""

from __future__ import annotations

import random
import uuid
from pathlib import Path

import pytest

from tests.jobs.entry import path_arguments, run_dirs
from tests.jobs.run_state import checkpoint_state, difference, history, summary_state
from tests.processes import finished

KILLED = -9
STEPS = 28  # of two epochs in one process; half as many in two
KINDS = {
    "cached": ["trainer=cpu"],
    "online": ["trainer=cpu", "teacher.signals=online"],
    "two": ["trainer=ddp_sim"],
}


def arguments(root: Path, kind: str, name: str) -> list[str]:
    """Dropout and shuffling on, so that the random state matters too."""
    fixed = ["+experiment=quickstart", "data=funnel_tiny", "control.enabled=false", "trainer.max_epochs=2"]
    logged = ["teacher.max_epochs=1", "trainer.log_every_n_steps=2", "callbacks.progress_bar=false"]
    tuned = ["callbacks.checkpoint_every_n_steps=3", "model.net.body.dropout=0.2", "threads=1"]
    return [*fixed, *KINDS[kind], *logged, *tuned, *path_arguments(root), f"name={name}"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where datasets, teachers and runs of this module are."""
    return tmp_path_factory.mktemp("kill")


def whole(root: Path, kind: str) -> Path:
    """The folder of an uninterrupted run."""
    name = f"whole_{kind}"
    if not (root / "runs" / name).exists():
        status, output = finished("train.py", *arguments(root, kind, name))
        assert status == 0, output
    return run_dirs(root, name)[0]


def killed_and_resumed(root: Path, kind: str, step: int, rank: int = 0, what: str = "kill") -> Path:
    """The folder of a run that was killed and went on."""
    name = f"{what}_{kind}_{step}_{rank}_{uuid.uuid4().hex[:8]}"  # two tests may kill at the same step
    own = arguments(root, kind, name)
    status, output = finished("tests/jobs/killer.py", what, "student", str(step), str(rank), *own)
    assert status != 0, output
    assert "Traceback" not in output, output
    (folder,) = run_dirs(root, name)
    assert not (folder / "summary.json").exists()
    status, output = finished("train.py", *own, "resume=last")
    assert status == 0, output
    assert run_dirs(root, name) == [folder]
    return folder


def assert_same(folder: Path, expected: Path) -> None:
    assert difference(checkpoint_state(folder), checkpoint_state(expected)) is None
    assert difference(history(folder, "student"), history(expected, "student")) is None
    assert difference(summary_state(folder), summary_state(expected)) is None


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "step", "rank"), [("cached", 14, 0), ("online", 5, 0), ("two", 7, 1)])
def test_kill_and_resume_equals_an_uninterrupted_run(root: Path, kind: str, step: int, rank: int) -> None:
    """Two of the steps are the first of the second epoch: the last checkpoint is that of the end of the first."""
    assert_same(killed_and_resumed(root, kind, step, rank), whole(root, kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_kill_at_random_steps(root: Path, kind: str, seed: int) -> None:
    ranks = 2 if kind == "two" else 1
    points = [(step, rank) for step in range(STEPS // ranks) for rank in range(ranks)]
    step, rank = random.Random(kind).sample(points, 4)[seed]
    assert_same(killed_and_resumed(root, kind, step, rank), whole(root, kind))


@pytest.mark.slow
def test_every_value_is_logged_once(root: Path) -> None:
    for tag, values in history(whole(root, "cached"), "student").items():
        steps = [step for step, _ in values]
        assert tag == "epoch" or len(steps) == len(set(steps)), tag


@pytest.mark.slow
@pytest.mark.parametrize("what", ["kill_write", "kill_rename"])
def test_kill_during_checkpoint_writing_leaves_the_previous_one(root: Path, what: str) -> None:
    assert_same(killed_and_resumed(root, "cached", 5, what=what), whole(root, "cached"))
