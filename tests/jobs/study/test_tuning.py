"""A study over jobs that train nothing: what is launched, and what becomes of each trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, TrialState

from distill.errors import ConfigError
from distill.jobs.study.storage import Reporter, open_study
from distill.jobs.study.tuning import Tuning
from distill.reports.summary import Summary

OBJECTIVE = "val/click/auc"
Job = dict[str, str]


def config(folder: Path, **study: Any) -> DictConfig:
    node = {
        "params": {"x": "interval(0.0, 1.0)"},
        "n_trials": 3,
        "n_jobs": None,
        "objective": OBJECTIVE,
        "mode": "max",
        "seeds": None,
        "sampler": {"_target_": "optuna.samplers.RandomSampler"},
        "sampler_seed": 0,
        "pruner": {"_target_": "optuna.pruners.ThresholdPruner", "lower": 0.5},
        "storage": None,
        "name": "test",
        "trial": None,
    }
    return OmegaConf.create(
        {"seed": 7, "x": 0.5, "study": {**node, **study}, "hydra": {"sweep": {"dir": str(folder)}, "launcher": {}}}
    )


def summary(value: float) -> Summary:
    return Summary(
        "run", 0, {"distilled": {}}, {}, {}, {}, {}, {}, [], "", "", validation={"distilled": {OBJECTIVE: value}}
    )


class Launcher:
    """Answers jobs by a function of their overrides; an exception is what the job raised."""

    def __init__(self, answer: Callable[[Job], Any]) -> None:
        self.answer = answer
        self.batches: list[list[Job]] = []

    def __call__(self, jobs: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        batch = [dict(o.split("=", 1) for o in job) for job in jobs]
        self.batches.append(batch)
        returns = []
        for job in batch:
            found = self.answer(job)
            failed = isinstance(found, Exception)
            returns.append(JobReturn(_return_value=found, status=JobStatus.FAILED if failed else JobStatus.COMPLETED))
        return returns


def tune(
    folder: Path, answer: Callable[[Job], Any], *arguments: str, **study: Any
) -> tuple[Launcher, list[FrozenTrial]]:
    launcher, node = Launcher(answer), config(folder, **study)
    tuning = Tuning(node, arguments, launcher)
    tuning.run()
    return launcher, open_study(tuning.node).trials


def test_jobs_get_parameters_seed_trial_and_storage(tmp_path: Path) -> None:
    launcher, trials = tune(tmp_path, lambda job: summary(float(job["x"])), "+experiment=e")
    assert [len(batch) for batch in launcher.batches] == [1, 1, 1]
    for number, (job,) in enumerate(launcher.batches):
        assert job == {
            "+experiment": "e",
            "x": str(trials[number].params["x"]),
            "seed": "7",
            "study.trial": str(number),
            "hydra.sweep.subdir": f"'{number}_7'",
            "study.storage": f"'{tmp_path / 'study.journal'}'",
        }
    assert [trial.value for trial in trials] == [trial.params["x"] for trial in trials]
    assert len({trial.params["x"] for trial in trials}) == 3


def test_the_given_settings_are_tried_first_and_count_as_a_trial(tmp_path: Path) -> None:
    _, trials = tune(tmp_path / "a", lambda job: summary(float(job["x"])))
    assert [trial.params["x"] == 0.5 for trial in trials] == [True, False, False]
    _, more = tune(tmp_path / "a", lambda job: summary(float(job["x"])), n_trials=4)
    assert [trial.params["x"] == 0.5 for trial in more] == [True, False, False, False]
    outside = {"params": {"x": "interval(0.6, 1.0)"}}
    _, drawn = tune(tmp_path / "b", lambda job: summary(float(job["x"])), **outside)
    assert len(drawn) == 3
    assert all(trial.params["x"] >= 0.6 for trial in drawn)


def test_pruned_is_neither_complete_nor_failed(tmp_path: Path) -> None:
    def answer(job: Job) -> Any:
        node = config(tmp_path, trial=int(job["study.trial"]), storage=str(tmp_path / "study.journal")).study
        value = [0.9, 0.4, 0.6][int(job["study.trial"])]
        return Summary.of_pruned("trial", 0, 1) if Reporter(node)(1, value) else summary(value)

    _, trials = tune(tmp_path, answer)
    assert [t.state for t in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert [t.intermediate_values for t in trials] == [{1: 0.9}, {1: 0.4}, {1: 0.6}]
    assert trials[1].value == 0.4


def test_jobs_that_fail_leave_the_others_their_turn(tmp_path: Path) -> None:
    answers = [summary(0.5), None, RuntimeError("out of memory"), summary(math.nan), summary(0.6)]
    _, trials = tune(tmp_path, lambda job: answers[int(job["study.trial"])], n_trials=5)
    states = [TrialState.COMPLETE, *[TrialState.FAIL] * 3, TrialState.COMPLETE]
    assert [trial.state for trial in trials] == states


def test_a_study_of_failures_only_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No trial has a result"):
        tune(tmp_path, lambda job: None)
    with pytest.raises(ConfigError, match="not measured"):
        tune(tmp_path / "b", lambda job: summary(1.0), objective="val/other")


def test_mean_over_seeds_and_no_more_seeds_for_what_is_pruned(tmp_path: Path) -> None:
    def answer(job: Job) -> Any:
        if job.get("study.trial") == "1":
            return Summary.of_pruned("trial", 0, 1)
        return summary({"3": 0.5, "5": 0.6, "8": 1.0}[job["seed"]])

    launcher, trials = tune(tmp_path, answer, seeds=[3, 5, 8], n_trials=2, n_jobs=2)
    first, rest = launcher.batches
    assert [(job["seed"], job.get("study.trial")) for job in first] == [("3", "0"), ("3", "1")]
    assert [(job["seed"], job.get("study.trial")) for job in rest] == [("5", None), ("8", None)]  # not reported
    assert [job["hydra.sweep.subdir"] for job in rest] == ["'0_5'", "'0_8'"]
    assert trials[0].value == pytest.approx(0.7)
    assert trials[1].state == TrialState.PRUNED


def test_an_interrupted_study_goes_on_where_it_was(tmp_path: Path) -> None:
    def interrupted(job: Job) -> Any:
        if (job["study.trial"], job["seed"]) == ("1", "0"):
            (tmp_path / "1_0").mkdir()
            (tmp_path / "1_0" / "manifest.json").write_text("{}")
            raise KeyboardInterrupt
        return summary(0.5)

    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path, interrupted, seeds=[0])
    launcher, trials = tune(tmp_path, lambda job: summary(0.6), seeds=[0])
    jobs = [job for batch in launcher.batches for job in batch]
    assert [(job["study.trial"], "resume" in job) for job in jobs] == [("1", True), ("2", False)]
    assert jobs[0]["resume"] == f"'{tmp_path / '1_0'}'"
    assert float(jobs[0]["x"]) == trials[1].params["x"]
    assert [trial.value for trial in trials] == [0.5, 0.6, 0.6]
    _, uninterrupted = tune(tmp_path / "other", lambda job: summary(0.5), seeds=[0])
    assert [t.params for t in uninterrupted] == [t.params for t in trials]


def test_a_finished_job_of_an_interrupted_trial_is_not_run_again(tmp_path: Path) -> None:
    def interrupted(job: Job) -> Any:
        if job["seed"] == "1":
            raise KeyboardInterrupt
        (tmp_path / "0_0").mkdir()
        summary(0.5).save(tmp_path / "0_0")
        return summary(0.5)

    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path, interrupted, seeds=[0, 1], n_trials=1)
    launcher, trials = tune(tmp_path, lambda job: summary(0.7), seeds=[0, 1], n_trials=1)
    assert [[job["seed"] for job in batch] for batch in launcher.batches] == [["1"]]
    assert trials[0].value == pytest.approx(0.6)


@pytest.mark.slow
def test_more_trials_with_the_same_settings_only(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'study.db'}"
    tune(tmp_path, lambda job: summary(0.5), "a=1", "threads=1", n_trials=1, storage=database)
    launcher, trials = tune(tmp_path, lambda job: summary(0.5), "a=1", "threads=2", n_trials=2, storage=database)
    assert (len(launcher.batches), len(trials)) == (1, 2)
    for arguments, changed in ((["a=2"], {}), (["a=1"], {"seeds": [0, 1]})):
        with pytest.raises(ConfigError, match="started with other settings"):
            tune(tmp_path, lambda job: summary(0.5), *arguments, n_trials=3, storage=database, **changed)


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"objective": "test/click/auc"}, "validation split"),
        ({"objective": "val/click/logloss"}, "Smaller values"),
        ({"objective": "val/teacher_inversion_rate"}, "Smaller values"),
        ({"objective": "val/click/auc", "mode": "min"}, "Larger values"),
        ({"objective": "val/click/pcoc"}, "best at 1"),
        ({"sampler": {"_target_": "os.system"}}, "not a class"),
        ({"pruner": {"_target_": "optuna.samplers.RandomSampler"}}, "not part of a run"),
    ],
)
def test_what_no_study_can_be(study: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        tune(tmp_path, lambda job: summary(0.5), **study)


def test_ranks_that_were_started_outside_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(ConfigError, match="Each rank"):
        tune(tmp_path, lambda job: summary(0.5))
