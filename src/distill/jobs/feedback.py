"""A cascade that lives on its own log: what students do to exposures, round by round."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from numpy.typing import NDArray

from distill.cascade.matthew import spread
from distill.console import plain_console
from distill.data.funnel import FunnelSource
from distill.data.funnel.cascade import Exploration
from distill.data.funnel.loop import FunnelLoop, Policy, Round
from distill.data.popularity import ItemExposures
from distill.data.prepare import prepare
from distill.data.raw import RawDataset
from distill.data.split import TimeSplit
from distill.errors import ConfigError
from distill.export.golden import RawRequests, score_requests
from distill.jobs.checkpoints import BEST
from distill.jobs.commands import COMMANDS
from distill.jobs.feedback_options import ARMS, Arm
from distill.jobs.in_process import run_in_process
from distill.jobs.parts import load_model
from distill.jobs.planned_folder import begin, check_seeds, read_measured
from distill.jobs.program import quoted
from distill.models.score import RankingScore
from distill.reports.feedback import Feedback, print_feedback, save_feedback
from distill.sealed import write_sealed

_ADAPTER = "data.adapter."
_WORLD: dict[str, Any] = {
    "users": 400,
    "items": 1500,
    "arrivals": 0.3,
    "min_candidates": 60,
    "max_candidates": 60,
    "preranked": 12,
    "ranked": 8,
    "exposed": 5,
    "warmup": 0,
}
_TRAINING = (
    "model=two_tower",
    "scheduler=cosine",
    "trainer=cpu",
    "trainer.max_epochs=5",
    "data.loader.batch_candidates=512",
    "metrics=funnel",
    "callbacks.progress_bar=false",
    "cost.enabled=false",
    "control.enabled=false",
    "logger=none",
    "threads=1",
)
_TAIL = 0.8  # items that have this share of the first round's exposures are not of the tail
_DONE = "measured.json"


def run(options: argparse.Namespace) -> Feedback:
    """Runs every arm in every world, and draws what became of the exposures.

    Raises:
        ConfigError: A number is out of its range, or seeds are given twice.
        DataError: The folder holds another study.
    """
    _check(options)
    plan = {name: getattr(options, name) for name in ("rounds", "requests", "window", "explore", "overrides")}
    begin(options.out, plan, "studies of feedback")
    values: dict[str, list[list[dict[str, float]]]] = {}
    for arm in options.arms:
        values[arm] = [_Loop(options, arm, seed).measured() for seed in options.seeds]
        plain_console().print(f"{arm}: {ARMS[arm].says}; {len(options.seeds)} worlds.", soft_wrap=True)
    found = Feedback(tuple(options.seeds), values)
    save_feedback(found, options.out)
    print_feedback(found, plain_console())
    plain_console().print(f"Feedback: {options.out}", soft_wrap=True)
    return found


def _check(options: argparse.Namespace) -> None:
    check_seeds(options.seeds, options.overrides)
    wrong = [
        (options.rounds < 1, "--rounds", "1 or more", options.rounds),
        (options.requests < 10, "--requests", "10 or more", options.requests),
        (options.window < 1, "--window", "1 or more", options.window),
        (not 0 < options.explore < 1, "--explore", "a share between 0 and 1", options.explore),
    ]
    for is_wrong, where, expected, found in wrong:
        if is_wrong:
            raise ConfigError("The study cannot be run like this.", where=where, expected=expected, found=str(found))


@dataclass(frozen=True)
class _Loop:
    """One arm in one world."""

    options: argparse.Namespace
    name: str
    seed: int

    @property
    def arm(self) -> Arm:
        return ARMS[self.name]

    @property
    def folder(self) -> Path:
        root: Path = self.options.out
        return root / self.name / f"seed-{self.seed}"

    def measured(self) -> list[dict[str, float]]:
        """Returns what each round measured, from the file of an earlier run if it is there."""
        done = self.folder / _DONE
        if done.exists():
            return read_measured(done, _rounds, "What an arm measured", "the arm is run again")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        found = self._run()
        write_sealed(done, {"rounds": found})
        return found

    def _run(self) -> list[dict[str, float]]:
        source = self._source()
        slots = Exploration(*(max(1, round(self.options.explore * n)) for n in (source.preranked, source.exposed)))
        loop = FunnelLoop(source, slots if self.arm.explores else Exploration(), self.arm.scored)
        first = loop.next_round()
        self._write(0, first)
        tail = _tail(first)
        found = [self._measure(first, tail, first.arrived)]
        for number in range(1, self.options.rounds + 1):
            round_ = loop.next_round(self._policy(loop, number), self.arm.sees_all)
            self._write(number, round_)
            found.append(self._measure(round_, tail, first.arrived))
        return found

    def _measure(self, found: Round, tail: torch.Tensor, before: int) -> dict[str, float]:
        exposures, candidates = (torch.from_numpy(x) for x in (found.exposures, found.candidates))
        return {"chance": found.chance, **spread(exposures, candidates, found.arrived, tail, before)}

    def _source(self) -> FunnelSource:
        rounds = self.options.rounds + 1
        size = {"requests": rounds * self.options.requests, "days": rounds, "seed": self.seed}
        return FunnelSource(**{**_WORLD, **_of_world(self.options.overrides), **size})

    def _write(self, number: int, found: Round) -> None:
        pq.write_table(found.table, self._log(number), compression="zstd")

    def _log(self, number: int) -> Path:
        return self.folder / f"round-{number}.parquet"

    def _policy(self, loop: FunnelLoop, number: int) -> Policy | None:
        """Trains on the last rounds and returns the student as a pre-ranker; None where none is trained."""
        if self.arm.training is None:
            return None
        files = tuple(self._log(i) for i in range(max(0, number - self.options.window), number))
        data = self.folder / f"data-{number}"
        prepare(RawDataset(files, loop.schema(), TimeSplit(val=0.1, test=0.02)), data)
        paths = [f"paths.{name}={quoted(self.folder / name)}" for name in ("data", "cache", "runs")]
        others = [o for o in self.options.overrides if not o.startswith(_ADAPTER)]
        given = ["data=prepared", f"data.root={quoted(data)}", *paths, f"name=round-{number}", f"seed={self.seed}"]
        run_in_process(COMMANDS["train"], [*_TRAINING, *self.arm.training, *given, *others])
        best = next((self.folder / "runs" / f"round-{number}").glob("*")) / BEST
        policy = _student(best)
        shutil.rmtree(data)
        return policy


def _of_world(overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the arguments of the world that overrides give.

    Raises:
        ConfigError: One is none, or of another kind.
    """
    given = [o for o in overrides if o.startswith(_ADAPTER)]
    parsed = {o.key_or_group.removeprefix(_ADAPTER): o.value() for o in OverridesParser.create().parse_overrides(given)}
    for name, value in parsed.items():
        default = {field.name: field.default for field in fields(FunnelSource)}.get(name)
        if name in ("requests", "days", "seed", "only_days") or type(value) is not type(default):
            raise ConfigError(
                "The world of a study does not accept this value.",
                where="overrides",
                expected="data.adapter.KEY=NUMBER of conf/data/funnel.yaml but requests, days, seed and only_days",
                found=f"{_ADAPTER}{name}={value}",
            )
    return parsed


def _student(checkpoint: Path) -> Policy:
    """Returns a checkpoint as a pre-ranker of raw columns."""
    loaded = load_model(checkpoint)
    fitted, score = loaded.fitted(checkpoint), RankingScore(loaded.schema)
    model = loaded.model.eval()

    def policy(
        request: dict[str, pa.Array], candidate: dict[str, pa.Array], counts: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        logits = score_requests(model, loaded.schema, fitted, RawRequests(request, candidate, counts))
        found: NDArray[np.float32] = score(logits, {}).numpy()
        return found

    return policy


def _tail(first: Round) -> torch.Tensor:
    """Says of each item whether it is of the tail, by the exposures of the first round `[I]`."""
    count = torch.from_numpy(first.exposures)
    (shown,) = count.nonzero(as_tuple=True)
    least = ItemExposures(shown, count[shown]).bands((_TAIL,))[0]
    tail = count < least
    tail[first.arrived :] = False
    return tail


def _rounds(content: dict[str, Any]) -> list[dict[str, float]]:
    return [{str(name): float(value) for name, value in one.items()} for one in content["rounds"]]
