"""A model through the days of a log: how fast it ages, and what it costs to keep it young."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from distill.console import plain_console
from distill.data.dataset import load_dataset
from distill.data.found import each_match
from distill.errors import ConfigError
from distill.jobs.checkpoints import BEST
from distill.jobs.commands import COMMANDS
from distill.jobs.in_process import run_in_process
from distill.jobs.planned_folder import begin, read_measured
from distill.jobs.program import quoted
from distill.jobs.uris import source_here
from distill.reports.backtest import Backtest, print_backtests, save_backtests
from distill.reports.evaluation import Evaluation, save_evaluations
from distill.sealed import write_sealed

_GENERATED = "funnel_drift"
_TIMES = "seconds.json"


def run(options: argparse.Namespace) -> list[Backtest]:
    """Trains and measures; everything is a dataset, a run or an evaluation of the commands of that name.

    Returns:
        What each seed measured.

    Raises:
        ConfigError: There are not enough days, or seeds are given twice.
        DataError: A day cannot be read.
    """
    found = [_of_seed(options, seed) for seed in _seeds(options)]
    metric = options.metric or f"{_Log.of(options.overrides).main_task}/auc"
    options.out.mkdir(parents=True, exist_ok=True)
    save_backtests(found, options.out, metric)
    print_backtests(found, metric, plain_console())
    plain_console().print(f"Backtest: {options.out}", soft_wrap=True)
    return found


def _seeds(options: argparse.Namespace) -> list[int | None]:
    """The seeds to go through; None for that of the overrides.

    Raises:
        ConfigError: One is there twice, or the overrides name one too.
    """
    seeds: list[int | None] = list(options.seeds or [None])
    given = [o for o in options.overrides if o.startswith("seed=")]
    if len(set(seeds)) < len(seeds) or (options.seeds and given):
        raise ConfigError(
            "The seeds of a backtest must be different and given once.",
            where="--seeds",
            expected="such as --seeds 0 1 2, without seed=",
            found=" ".join([*map(str, seeds), *given]),
        )
    return seeds


def _of_seed(options: argparse.Namespace, seed: int | None) -> Backtest:
    own = argparse.Namespace(**vars(options))
    if seed is not None:
        own.out, own.overrides = options.out / f"seed-{seed}", [*options.overrides, f"seed={seed}"]
    log = _Log.of(own.overrides)
    options = own
    if not 1 <= options.first < log.num_days:
        raise ConfigError(
            "A backtest needs days to train on and later days to measure.",
            where="--first",
            expected=f"1 to {log.num_days - 1}",
            found=str(options.first),
        )
    plan = {"first": options.first, "days": [str(day) for day in log.days], "overrides": list(options.overrides)}
    begin(options.out, plan, "backtests")
    backtest = _Backtest(log, options)
    found = backtest.run()
    save_evaluations(found, options.out, options.metric or f"{log.main_task}/auc")
    return Backtest(seed, found, backtest.seconds)


@dataclass(frozen=True)
class _Log:
    """The days of a log, and the overrides that are not about it.

    Attributes:
        days: A file or folder for each day; none of a generated log.
        schema: Overrides that name data and schema.
        others: Overrides of training.
        num_days: Number of days.
        main_task: That early stopping goes by.
    """

    days: tuple[Path, ...]
    schema: tuple[str, ...]
    others: tuple[str, ...]
    num_days: int
    main_task: str

    @classmethod
    def of(cls, overrides: Sequence[str]) -> _Log:
        """Reads what the overrides say of the data.

        Raises:
            ConfigError: They name no log that has days.
            DataError: There are no files of days.
        """
        parsed = {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(list(overrides))}
        data = [o for o in overrides if o.startswith(("data=", "data.adapter.", "data.schema=", "seed="))]
        others = [o for o in overrides if not o.startswith(("data=", "data.adapter.", "data.schema=", "data.source="))]
        main_task = str(parsed.get("data.main_task", "click"))
        if parsed.get("data") == _GENERATED:
            days = int(str(parsed.get("data.adapter.days", 10)))
            return cls((), tuple(data), tuple(others), days, main_task)
        if "data.source" not in parsed:
            raise ConfigError(
                "The log has no days.",
                where="overrides",
                expected=f"data=parquet data.schema=FILE data.source=PATTERN, or data={_GENERATED}",
                found=" ".join(overrides) or "none",
            )
        given = parsed["data.source"]
        if isinstance(given, dict):
            raise ConfigError("The files of splits are not days.", where="data.source", expected="a pattern, or a list")
        named = given if isinstance(given, list) else [given]
        found = tuple(map(Path, each_match([source_here(str(one), "data.source") for one in named])))
        return cls(found, tuple(data), tuple(others), len(found), main_task)

    def source(self, first: int, last: int) -> list[str]:
        """Overrides that name the rows of some days."""
        if not self.days:
            return [*self.schema, f"data.adapter.only_days=[{first},{last}]"]
        named = ",".join(quoted(day) for day in self.days[first : last + 1])
        return [*self.schema, f"data.source={named}" if first == last else f"data.source=[{named}]"]

    def name(self, day: int) -> str:
        """What a day is called."""
        return f"day {day}" if not self.days else self.days[day].name


def _seconds_of_parts(content: dict[str, Any]) -> dict[str, float]:
    return {str(part): float(seconds) for part, seconds in content.items()}


class _Times:
    """How long each part took, when it was made: a backtest that goes on where it was does not make it again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, float] = {}
        if path.exists():
            then = "parts that are there already count as 0 s"
            self._known = read_measured(path, _seconds_of_parts, "The times of a backtest", then)

    def of(self, part: str, seconds: float) -> float:
        """Returns the time of a part, which is that of now if it was not known."""
        if part not in self._known:
            self._known[part] = seconds
            write_sealed(self._path, self._known)
        return self._known[part]


class _Backtest:
    def __init__(self, log: _Log, options: argparse.Namespace) -> None:
        self.log = log
        self.out: Path = options.out
        self.first: int = options.first
        self.arms: list[str] = options.arms
        self.paths = [f"paths.{name}={quoted(self.out / name)}" for name in ("data", "cache", "runs")]
        self.seconds = dict.fromkeys(self.arms, 0.0)
        self.times = _Times(self.out / _TIMES)
        self.daily = Path()  # the last dataset whose vocabularies grew

    def run(self) -> list[Evaluation]:
        start = time.perf_counter()
        self.daily = self._prepare("first", 0, self.first - 1)
        base = self._train("first", self.daily, None)
        spent = self.times.of("first", time.perf_counter() - start)
        models = dict.fromkeys(self.arms, base)
        found = []
        for day in range(self.first, self.log.num_days):
            if day > self.first:
                models = {arm: self._next(arm, day, models[arm]) for arm in self.arms}
            found.append(self._measured(day, models))
        plain_console().print(f"Preparing and training at first: {spent:.0f} s.", soft_wrap=True)
        return found

    def _next(self, arm: str, day: int, before: Path) -> Path:
        """The model that is used on a day; it has seen the days before."""
        start = time.perf_counter()
        if arm == "daily":
            known = f"encodings={quoted(self.daily)}"
            self.daily = self._prepare(f"daily-{day - 1:03d}", day - 1, day - 1, known, "grow=true")
            before = self._train(f"daily-{day:03d}", self.daily, before)
        elif arm == "scratch":
            before = self._train(f"scratch-{day:03d}", self._prepare(f"scratch-{day - 1:03d}", 0, day - 1), None)
        self.seconds[arm] += self.times.of(f"{arm}-{day:03d}", time.perf_counter() - start)
        return before

    def _prepare(self, name: str, first: int, last: int, *known: str) -> Path:
        folder = self.out / "datasets" / name
        if not folder.exists():
            run_in_process(
                COMMANDS["prepare"], [*self.log.source(first, last), *self.paths, *known, f"out={quoted(folder)}"]
            )
        return load_dataset(folder).root

    def _train(self, name: str, data: Path, before: Path | None) -> Path:
        runs = self.out / "runs" / name
        if not list(runs.glob("*/summary.json")):
            start = [] if before is None else [f"model.init_from={quoted(before)}"]
            own = ["data=prepared", f"data.root={quoted(data)}", *self.paths, f"name={name}", *start]
            state = () if before is not None else ("model.init_optimizer=",)  # the first day has nothing to begin with
            run_in_process(COMMANDS["train"], [*own, *(o for o in self.log.others if not o.startswith(state))])
        return max(path.parent for path in runs.glob("*/summary.json")) / BEST

    def _measured(self, day: int, models: dict[str, Path]) -> Evaluation:
        """Measures a day; arms whose model is the same are one."""
        named = ", ".join(f"{arm}: {quoted(path)}" for arm, path in models.items())
        trainer = [o for o in self.log.others if o.startswith(("trainer", "threads", "metrics"))]
        own = [*self.log.source(day, day), *self.paths, *_of_evaluation(trainer), f"path={{{named}}}"]
        (found,) = run_in_process(COMMANDS["evaluate"], own)
        assert isinstance(found, Evaluation)
        return replace(found, data=self.log.name(day))


def _of_evaluation(overrides: Sequence[str]) -> list[str]:
    """What of the training's overrides an evaluation has too."""
    return [o for o in overrides if not o.startswith(("trainer.max_", "trainer.limit_", "trainer.val_"))]
