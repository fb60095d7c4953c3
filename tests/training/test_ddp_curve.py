"""Two processes and one process with the same global batches: the same losses step by step, the same metrics."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distill.reports.summary import load_summary
from tests.jobs.entry import run_dirs, tiny_arguments
from tests.jobs.processes import run_python

# Sums of float32 in another order. The listwise student is unstable: weights that differ in the last bit, in one
# process, give the same jump to 1e-4 within a few steps, so only its first steps can show that the processes compute
# the same.
EXACT = {"rel": 1e-5, "abs": 1e-6}
EXACT_STUDENT_STEPS = 5
CARRIED = {"rel": 0.05, "abs": 1e-3}
METRIC = {"teacher": 1e-5, "control": 1e-5, "student": 0.05, "distilled": 0.05}


def _run(root: Path, name: str, trainer: str, extra: list[str]) -> Path:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("trainer", "teacher.", "paths.cache"))]
    done = run_python(
        "train.py",
        "+experiment=quickstart",
        *tiny,
        f"trainer={trainer}",
        "trainer.max_epochs=2",
        "teacher.max_epochs=1",
        "trainer.log_every_n_steps=1",
        "data.loader.num_shards=2",
        "data.loader.batch_candidates=200",
        f"paths.cache={root / 'cache' / name}",
        f"name={name}",
        *extra,
    )
    assert done.status == 0, done.errors[-3000:]
    return run_dirs(root, name)[0]


def _scalars(folder: Path, role: str) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder / "tensorboard" / role), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _check(one: Path, two: Path, role: str) -> None:
    first, second = _scalars(one, role), _scalars(two, role)
    tags = sorted(tag for tag in first if tag.startswith(("train/loss", "train/weight", "val/")))
    assert tags == sorted(tag for tag in second if tag.startswith(("train/loss", "train/weight", "val/")))
    assert len(first["train/loss"]) == load_summary(one).steps["distilled" if role == "student" else role] > 10
    for tag in tags:
        training = tag.startswith("train/")
        assert [step for step, _ in first[tag]] == [step for step, _ in second[tag]], tag
        for i, ((step, a), (_, b)) in enumerate(zip(first[tag], second[tag], strict=True)):
            exact = role != "student" or i < EXACT_STUDENT_STEPS
            tolerance = (EXACT if exact else CARRIED) if training else {"abs": METRIC[role]}
            assert b == pytest.approx(a, nan_ok=True, **tolerance), (role, tag, step)


@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one(tmp_path: Path) -> None:
    one, two = _run(tmp_path, "one", "cpu", []), _run(tmp_path, "two", "ddp_sim", [])
    for role in ("teacher", "control", "student"):
        _check(one, two, role)
    expected, found = load_summary(one), load_summary(two)
    assert expected.steps == found.steps
    for role, values in expected.metrics.items():
        for name, value in values.items():
            if math.isfinite(value):
                assert found.metrics[role][name] == pytest.approx(value, abs=1e-5 if role == "control" else 0.05), (
                    role,
                    name,
                )
