"""Scaling curves: what a larger student, more data and a larger teacher bring, on one large synthetic cascade."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from distill.console import plain_console
from distill.data.datamodule import Loading, RankingDataModule
from distill.data.format import Dataset
from distill.jobs.commands import COMMANDS
from distill.jobs.in_process import run_in_process
from distill.jobs.planned_folder import begin, check_seeds
from distill.jobs.program import quoted
from distill.jobs.scaling_cost import costs_in_turns
from distill.jobs.scaling_options import STUDENTS, TEACHERS, Arm, chosen
from distill.jobs.sizes import batch_of
from distill.reports.scaling import Scaling, ScalingArm, print_scaling, save_scaling
from distill.reports.summary import SUMMARY_FILE, Summary, load_summary

_ADAPTER = "data.adapter."
_WORLD = (
    "requests=137000",
    "warmup=20000",
    "users=5000",
    "items=10000",
    "categories=40",
    "brands=1000",
    "val=0.03",
    "test=0.05",
)
_TRAINING = (
    "metrics=funnel",
    "scheduler=cosine",
    "trainer=cpu",
    "logger=none",
    "callbacks.progress_bar=false",
    "cost.enabled=false",
    "privileged=false",
    "threads=1",
)
# The settings of conf/experiment/funnel/distilled.yaml, which were chosen for each of the three.
_TEACHER_EPOCHS = 2
_TEACHER = ("model=dcn_v2", "optimizer.lr=0.002", f"trainer.max_epochs={_TEACHER_EPOCHS}")
_STUDENT = (
    "model=two_tower",
    "+optimizer@control.optimizer=adamw_adagrad",
    "control.optimizer.lr=0.001",
    "control.optimizer.embedding_lr=0.02",
    "optimizer.lr=0.003",
    "optimizer.embedding_lr=0.1",
    "+loss_term@loss.terms.softmax_kl=softmax_kl",
    "loss.terms.softmax_kl.weight=3.0",
    "trainer.max_epochs=1",
)
# Candidates a second of one core, about: what is said before it starts.
_TEACHER_READS, _SCORED, _STUDENT_READS = 120_000, 40_000, 100_000
_MINUTE = 60


def run(options: argparse.Namespace) -> Scaling:
    """Trains every arm in every world, measures what models cost, and draws the curves.

    Raises:
        ConfigError: Seeds are given twice, or the overrides name one.
        DataError: The folder holds another study.
    """
    check_seeds(options.seeds, options.overrides)
    begin(options.out, {"overrides": options.overrides}, "studies of scaling")
    arms = chosen(options.arms)
    worlds = [_World(options.out / f"seed-{seed}", seed, tuple(options.overrides)) for seed in options.seeds]
    measured = [world.measured(arms) for world in worlds]
    found = Scaling(
        seeds=tuple(options.seeds),
        candidates=worlds[0].candidates,
        arms={name: _of_worlds(arm, [world[name] for world in measured]) for name, arm in arms.items()},
        costs=worlds[0].costs(arms, measured[0]),
    )
    save_scaling(found, options.out)
    print_scaling(found, plain_console())
    plain_console().print(f"Scaling: {options.out}", soft_wrap=True)
    return found


def _of_worlds(arm: Arm, summaries: Sequence[Summary]) -> ScalingArm:
    return ScalingArm(arm.axes, arm.student, arm.teacher, arm.share, tuple(summaries))


@dataclass(frozen=True)
class _World:
    """All that is trained on one dataset."""

    folder: Path
    seed: int
    overrides: tuple[str, ...]
    _scored: dict[str, tuple[Path, Path]] = field(default_factory=dict)

    def measured(self, arms: Mapping[str, Arm]) -> dict[str, Summary]:
        """Returns the result of each arm; one that is there already is read."""
        self._say_work(arms)
        return {name: self._of_arm(name, arm) for name, arm in arms.items()}

    @cached_property
    def dataset(self) -> Dataset:
        """The prepared data, made once."""
        world = [*(f"{_ADAPTER}{one}" for one in _WORLD), *(o for o in self.overrides if o.startswith(_ADAPTER))]
        found: Dataset = run_in_process(COMMANDS["prepare"], ["data=funnel", *world, f"seed={self.seed}", *self._paths])
        return found

    @property
    def candidates(self) -> int:
        """In the training split."""
        return sum(part.candidates for part in self.dataset.manifest.splits["train"])

    def costs(self, arms: Mapping[str, Arm], found: Mapping[str, Summary]) -> Mapping[str, Mapping[str, float]]:
        """Measures the students and teachers of some arms side by side, or reads what was measured."""
        students = {f"student {arm.student}": Path(found[name].checkpoint("distilled")) for name, arm in arms.items()}
        teachers = {f"teacher {arm.teacher}": self._teacher(arm.teacher)[0] for arm in arms.values()}
        return costs_in_turns({**students, **teachers}, self.folder / "costs.json")

    @property
    def _paths(self) -> list[str]:
        return [f"paths.{name}={quoted(self.folder / name)}" for name in ("data", "cache", "runs")]

    @property
    def _given(self) -> list[str]:
        """What all trainings have, an arm's sizes come behind it."""
        others = [o for o in self.overrides if not o.startswith(_ADAPTER)]
        return [*others, "data=prepared", f"data.root={quoted(self.dataset.root)}", f"seed={self.seed}", *self._paths]

    def _of_arm(self, name: str, arm: Arm) -> Summary:
        done = self._done(name)
        if done is not None:
            return done
        _, signals = self._teacher(arm.teacher)
        own = [
            *STUDENTS[arm.student].overrides,
            *self._steps(arm.share),
            "teacher=column",
            f"teacher.path={quoted(signals)}",
            f"name={name}",
        ]
        summary: Summary = run_in_process(COMMANDS["train"], [*_TRAINING, *_STUDENT, *self._given, *own])
        return summary

    def _steps(self, share: float) -> list[str]:
        """The batch that `auto` takes for so many candidates, and where the one epoch ends."""
        requests = sum(part.rows for part in self.dataset.manifest.splits["train"])
        batch = batch_of(int(share * self.candidates), int(share * requests))
        if share == 1:
            return [f"data.loader.batch_candidates={batch}"]
        whole = RankingDataModule(self.dataset.root, Loading(batch), self.seed, view="serving").steps_per_epoch()
        return [f"data.loader.batch_candidates={batch}", f"trainer.max_steps={max(1, round(share * whole))}"]

    def _teacher(self, name: str) -> tuple[Path, Path]:
        """Returns a teacher's checkpoint and the folder of its scores, which are made once."""
        if name not in self._scored:
            run, out = f"ranker-{name}", self.folder / "scores" / name
            summary = self._done(run)
            if summary is None:
                own = [*TEACHERS[name].overrides, f"name={run}"]
                summary = run_in_process(COMMANDS["train"], [*_TRAINING, *_TEACHER, *self._given, *own])
            checkpoint = Path(summary.checkpoint("model"))
            data = ["data=prepared", f"data.root={quoted(self.dataset.root)}", "trainer=cpu", "threads=1", "keys=false"]
            said = [f"teacher.path={quoted(checkpoint)}", f"out={quoted(out)}", *self._paths]
            run_in_process(COMMANDS["score"], [*data, *said])
            self._scored[name] = checkpoint, out
        return self._scored[name]

    def _done(self, name: str) -> Summary | None:
        """Returns the result of a run that ended."""
        found = sorted((self.folder / "runs" / name).glob(f"*/{SUMMARY_FILE}"))
        return load_summary(found[-1].parent) if found else None

    def _say_work(self, arms: Mapping[str, Arm]) -> None:
        """Says what is left to do, and about how long a core takes."""
        left = {name: arm for name, arm in arms.items() if self._done(name) is None}
        if not left:
            return
        everything = sum(part.candidates for parts in self.dataset.manifest.splits.values() for part in parts)
        teachers = {arm.teacher for arm in left.values()}
        untrained = [name for name in teachers if self._done(f"ranker-{name}") is None]
        read = sum(arm.share for arm in left.values()) * self.candidates
        taught, scored = len(untrained) * _TEACHER_EPOCHS * self.candidates, len(teachers) * everything
        minutes = (read / _STUDENT_READS + taught / _TEACHER_READS + scored / _SCORED) / _MINUTE
        plain_console().print(
            f"Seed {self.seed}: {self.candidates:,} training candidates. To do: {len(left)} arms read {read:,.0f}, "
            f"{len(untrained)} teachers {taught:,}, and score {scored:,}. One core may take {minutes:.0f} minutes.",
            soft_wrap=True,
        )
