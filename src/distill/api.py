"""The commands as functions, for notebooks and programs; nothing heavy is imported before one is called."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.data.format import Dataset
    from distill.jobs.export import Exported
    from distill.jobs.predict import Predicted
    from distill.jobs.score import Scored
    from distill.jobs.select_fields import Choice
    from distill.reports.compare import Row
    from distill.reports.evaluation import Evaluation
    from distill.reports.summary import Summary

StrPath = str | PathLike[str]


def prepare(overrides: Sequence[str] = (), *, config_dir: StrPath | None = None) -> Dataset:
    """Turns raw logs into a prepared dataset, as `distill prepare OVERRIDES…` does.

    Args:
        overrides: Of the config, such as `data=parquet` and `data.source=DIR`; no quotes for a shell.
        config_dir: Folder with configs of your own, as of `--config-dir`.

    Raises:
        DistillError: What the command would have ended with.
    """
    found: Dataset = _run("prepare", overrides, config_dir)
    return found


def train(overrides: Sequence[str] = (), *, config_dir: StrPath | None = None) -> Summary:
    """Trains what a config asks for, as `distill train OVERRIDES…` does, and leaves the same run folder.

    Args:
        overrides: Of the config, such as `+experiment=quickstart`; no quotes for a shell.
        config_dir: Folder with configs of your own, as of `--config-dir`.

    Returns:
        What `summary.json` holds: metrics by role, gaps, costs.

    Raises:
        DistillError: What the command would have ended with.
    """
    found: Summary = _run("train", overrides, config_dir)
    return found


def score(overrides: Sequence[str] = (), *, config_dir: StrPath | None = None) -> Scored:
    """Writes a teacher's logits beside a dataset, as `distill score OVERRIDES…` does.

    Args:
        overrides: Of the config, such as `teacher.path=FILE.ckpt`; no quotes for a shell.
        config_dir: Folder with configs of your own, as of `--config-dir`.

    Raises:
        DistillError: What the command would have ended with.
    """
    found: Scored = _run("score", overrides, config_dir)
    return found


def evaluate(overrides: Sequence[str] = (), *, config_dir: StrPath | None = None) -> list[Evaluation]:
    """Measures checkpoints on any data, as `distill evaluate OVERRIDES…` does.

    Args:
        overrides: Of the config, such as `path=FILE.ckpt` and `data=parquet`; no quotes for a shell.
        config_dir: Folder with configs of your own, as of `--config-dir`.

    Returns:
        What was measured, for each set of rows: one, or with `each=true` one for each match of `data.source`.

    Raises:
        DistillError: What the command would have ended with.
    """
    found: list[Evaluation] = _run("evaluate", overrides, config_dir)
    return found


def predict(overrides: Sequence[str] = (), *, config_dir: StrPath | None = None) -> Predicted:
    """Scores raw files, labelled or not, as `distill predict OVERRIDES…` does.

    Args:
        overrides: Of the config: `path=FILE.ckpt`, `source=DIR` and `out=DIR`; no quotes for a shell.
        config_dir: Folder with configs of your own, as of `--config-dir`.

    Raises:
        DistillError: What the command would have ended with.
    """
    found: Predicted = _run("predict", overrides, config_dir)
    return found


def export(overrides: Sequence[str] = (), *, config_dir: StrPath | None = None) -> Exported:
    """Makes a bundle that a server uses without torch, as `distill export OVERRIDES…` does.

    Args:
        overrides: Of the config: `path=FILE.ckpt` and `out=DIR`; no quotes for a shell.
        config_dir: Folder with configs of your own, as of `--config-dir`.

    Raises:
        DistillError: What the command would have ended with.
    """
    found: Exported = _run("export", overrides, config_dir)
    return found


def select_fields(overrides: Sequence[str] = (), *, config_dir: StrPath | None = None) -> list[Choice]:
    """Writes experiments that keep the fields worth their cost, as `distill select OVERRIDES…` does.

    Args:
        overrides: Of the config, such as `run=FOLDER`; no quotes for a shell.
        config_dir: Folder with configs of your own, as of `--config-dir`.

    Raises:
        DistillError: What the command would have ended with.
    """
    found: list[Choice] = _run("select", overrides, config_dir)
    return found


def compare(
    runs: Sequence[StrPath],
    *,
    metrics: Sequence[str] | None = None,
    sort: str | None = None,
    different_data: bool = False,
    out: StrPath | None = None,
) -> list[Row]:
    """Shows any runs in one table, as `distill compare RUNS…` does.

    Args:
        runs: Run folders, or folders with runs anywhere below.
        metrics: To show; by default the main ones.
        sort: Metric to sort by, the best first.
        different_data: Whether runs on different data may be compared.
        out: Folder for comparison.json, .md and .png, and report.html.

    Returns:
        A row for each configuration and role, with the mean and deviation of every metric over seeds.

    Raises:
        DistillError: What the command would have ended with.
    """
    from argparse import Namespace

    from distill.jobs.commands import COMMANDS, job
    from distill.jobs.in_process import raising

    options = Namespace(
        runs=[Path(run) for run in runs],
        metrics=None if metrics is None else list(metrics),
        sort=sort,
        different_data=different_data,
        out=None if out is None else Path(out),
    )
    rows: list[Row] = raising(lambda: job(COMMANDS["compare"].job)(options))
    return rows


def _run(command: str, overrides: Sequence[str], config_dir: StrPath | None) -> Any:
    from distill.jobs.commands import COMMANDS
    from distill.jobs.in_process import run_in_process

    return run_in_process(COMMANDS[command], overrides, None if config_dir is None else Path(config_dir))
