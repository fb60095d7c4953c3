"""Short training on few rows ends calibrated if heads begin at the rates of the labels."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from distill.data.contents import LabelNumbers
from distill.jobs.head_prior import prior_logit
from distill.jobs.parts import load_model
from distill.reports.summary import load_summary
from distill.schema import Task
from tests.jobs.entry import run_dirs, tiny_arguments, train

_ALONE = ("teacher=none", "loss=hard", "model=dnn", "cost.enabled=false")


def _pcoc(root: Path, name: str, *arguments: str, role: str = "model") -> float:
    tiny = [a for a in tiny_arguments(root) if not a.startswith("teacher.")]
    train(*tiny, *_ALONE, "trainer.max_steps=3", f"name={name}", *arguments)
    (run,) = run_dirs(root, name)
    return load_summary(run).metrics[role]["click/pcoc"]


def test_a_head_begins_at_the_log_odds_of_a_binary_task_and_at_the_mean_of_another() -> None:
    numbers = LabelNumbers(candidates=100, labelled=50, positive=4, low=0.0, mean=0.08, high=1.0)
    assert prior_logit(Task(name="click"), numbers) == pytest.approx(math.log(4.5 / 46.5))
    assert prior_logit(Task(name="watch", kind="value"), numbers) == 0.08
    assert prior_logit(Task(name="click"), LabelNumbers(candidates=5)) == 0.0
    assert prior_logit(Task(name="grade", kind="graded"), LabelNumbers(candidates=5)) == 0.0
    all_positive = LabelNumbers(candidates=9, labelled=9, positive=9)
    assert prior_logit(Task(name="click"), all_positive) == pytest.approx(math.log(19))


def test_few_steps_end_calibrated(tmp_path: Path) -> None:
    assert 0.5 < _pcoc(tmp_path, "prior", "model.head_bias=prior") < 2


@pytest.mark.slow
def test_few_steps_from_the_initial_weights_do_not(tmp_path: Path) -> None:
    assert _pcoc(tmp_path, "default") > 2


@pytest.mark.slow
def test_a_warm_start_takes_the_bias_of_the_checkpoint(tmp_path: Path) -> None:
    _pcoc(tmp_path, "first")
    (first,) = run_dirs(tmp_path, "first")
    last = first / "checkpoints" / "last.ckpt"
    warm = [f"model.init_from={last}", "model.head_bias=prior", "optimizer.lr=1e-12", "optimizer.embedding_lr=1e-12"]
    _pcoc(tmp_path, "warm", *warm)
    (second,) = run_dirs(tmp_path, "warm")
    biases = [
        load_model(run / "checkpoints" / "last.ckpt").model.heads.linear.bias.detach()  # type: ignore[union-attr]
        for run in (first, second)
    ]
    assert biases[1].tolist() == pytest.approx(biases[0].tolist(), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("more", [("model=esmm",), ("model=aitm",)])
def test_products_of_tasks_end_calibrated_too(tmp_path: Path, more: tuple[str, ...]) -> None:
    assert 0.5 < _pcoc(tmp_path, "prior", "model.head_bias=prior", *more) < 2


@pytest.mark.slow
def test_a_second_head_does_too(tmp_path: Path) -> None:
    tiny = tiny_arguments(tmp_path)
    train("+experiment=quickstart", *tiny, "model.head=decoupled", "model.head_bias=prior", "name=two")
    (run,) = run_dirs(tmp_path, "two")
    assert 0.5 < load_summary(run).metrics["distilled"]["click/pcoc"] < 2
