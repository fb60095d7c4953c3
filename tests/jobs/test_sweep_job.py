"""A job of a sweep is named by what differs."""

from __future__ import annotations

from distill.jobs.sweep_job import swept


def test_what_differs_is_what_was_swept() -> None:
    typed = ["-m", "+experiment=quickstart", "cost.enabled=false", "seed=0,1", "optimizer.lr=range(1,3)", "name='a,b'"]
    of_job = ["+experiment=quickstart", "cost.enabled=False", "seed=1", "optimizer.lr=2", "name=a,b", "study.trial=3"]
    assert swept(of_job, typed) == ["seed=1", "optimizer.lr=2"]


def test_what_a_study_chose_was_not_typed() -> None:
    assert swept(["model.net.vector_dim=8", "seed=0"], ["-m", "seed=0", "+sweep=optuna"]) == ["model.net.vector_dim=8"]
