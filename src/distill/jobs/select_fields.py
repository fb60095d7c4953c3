"""From the gates of a COLD or FSCD run to experiments that keep the fields worth their cost."""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig
from rich import box
from rich.table import Table

from distill.console import plain_console
from distill.data.datamodule import Loading, RankingDataModule
from distill.errors import ConfigError, DataError
from distill.files import write_text_atomic
from distill.jobs.manifest import CONFIG_FILE, MANIFEST_FILE, read_config
from distill.jobs.node import plain
from distill.jobs.parts import build_model, load_model
from distill.jobs.program import train_command
from distill.models.cost import selection_cost
from distill.models.prerankers.grouped import GatedPreRanker
from distill.plain import plain_data
from distill.reports.budget_curve import save_budget_curve
from distill.reports.summary import SUMMARY_FILE, load_summary
from distill.schema import Schema

_log = logging.getLogger(__name__)
_METRICS = ("flops", "milliseconds", "groups")


@dataclass(frozen=True)
class Group:
    """A group of fields.

    Attributes:
        name: Of the group.
        fields: Its fields.
        gate: Its mean weight over the validation split.
        cost: What the model costs with it less what it costs without it.
    """

    name: str
    fields: tuple[str, ...]
    gate: float
    cost: float


@dataclass(frozen=True)
class Choice:
    """Groups that fit a budget.

    Attributes:
        name: Of the experiment.
        groups: Best first.
        cost: Of the model that reads them.
        limit: The budget.
        path: The experiment.
    """

    name: str
    groups: tuple[Group, ...]
    cost: float
    limit: float
    path: Path


def run(cfg: DictConfig) -> list[Choice]:
    """Writes an experiment for each budget; or draws the curve of the runs `curve`.

    Raises:
        ConfigError: The run is of a model without gates, a budget is smaller than any group, or an option is unknown.
        DataError: There is no such run.
    """
    if cfg.curve is not None:
        save_budget_curve(
            [load_summary(Path(folder)) for folder in cfg.curve], Path(cfg.out), cfg.metric, plain_console()
        )
        return []
    if cfg.run is None or cfg.budget.metric not in _METRICS or cfg.order not in ("gate", "gate_per_cost"):
        raise ConfigError(
            "Fields are selected from a run.",
            where="run, budget.metric, order",
            expected=f"run=FOLDER, budget.metric={'|'.join(_METRICS)}, order=gate|gate_per_cost",
            found=f"run={cfg.run}, budget.metric={cfg.budget.metric}, order={cfg.order}",
        )
    return _Selection(cfg).run()


class _Selection:
    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.folder = Path(cfg.run)
        self.summary = load_summary(self.folder)
        loaded = load_model(self.folder / "checkpoints" / "best.ckpt")
        if not isinstance(loaded.model, GatedPreRanker):
            raise ConfigError(
                "This model has no gates over its fields.",
                where=str(self.folder),
                expected="a run of model=cold or model=fscd",
                found=type(loaded.model).__name__,
            )
        self.model, self.schema = loaded.model, loaded.schema
        self.config = read_config(self.folder)
        self.net: Mapping[str, Any] = self._of_run("model", "net")
        self.metric = str(cfg.budget.metric)

    def run(self) -> list[Choice]:
        groups = self._groups()
        steps = [self._cost(groups[: k + 1]) for k in range(len(groups))]
        plain_console().print(_table(groups, steps, self.metric))
        limits = plain(self.cfg.budget.limits) or _shares(steps)
        choices = [self._choice(groups, steps, float(limit)) for limit in limits]
        for choice in choices:
            names = ", ".join(group.name for group in choice.groups)
            _log.info("%s: %s %s: %s", choice.path, f"{choice.cost:,.6g}", _unit(self.metric), names)
        return choices

    def _of_run(self, *keys: str) -> Any:
        """Looks a value up in the config of the run."""
        found: Any = self.config
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                place = f"{self.folder / CONFIG_FILE}: {'.'.join(keys)}"
                raise DataError("The config of the run lacks a key.", where=place, found=f"no {key}")
            found = found[key]
        return found

    def _groups(self) -> list[Group]:
        members = self.model.fields.groups
        everything = [f for fields in members.values() for f in fields]
        found = [
            Group(name, tuple(fields), gate, self._own_cost(fields, everything))
            for (name, fields), gate in zip(members.items(), self._mean_gates(), strict=True)
        ]
        if self.cfg.order == "gate":
            return sorted(found, key=lambda group: -group.gate)
        return sorted(found, key=lambda group: -group.gate / max(group.cost, 1e-12))

    def _own_cost(self, fields: Sequence[str], everything: Sequence[str]) -> float:
        if self.metric == "groups":
            return 1.0
        rest = [f for f in everything if f not in fields]
        return self._fields_cost(everything) - (self._fields_cost(rest) if rest else 0.0)

    def _mean_gates(self) -> list[float]:
        manifest = self.folder / MANIFEST_FILE
        try:
            root = Path(json.loads(manifest.read_text(encoding="utf-8"))["dataset"]["root"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DataError("The run does not say which data it read.", where=str(manifest)) from error
        data = RankingDataModule(root, Loading(int(self._of_run("data", "loader", "batch_candidates"))), view="serving")
        total, rows = torch.zeros(len(self.model.fields.groups), dtype=torch.float64), 0
        with torch.no_grad():
            for batch in data.loader("val"):
                total += self.model.group_weights(batch).double().sum(0)
                rows += batch.num_candidates
        return [float(value) / max(rows, 1) for value in total]

    def _cost(self, groups: Sequence[Group]) -> float:
        if self.metric == "groups":
            return float(len(groups))
        return self._fields_cost([f for group in groups for f in group.fields])

    def _fields_cost(self, fields: Sequence[str]) -> float:
        return selection_cost(self._build, self.schema, fields, self.metric, float(self.cfg.budget.seconds))

    def _build(self, schema: Schema, fields: Sequence[str]) -> Any:
        return build_model({**self.net, "fields": list(fields), "gate": False}, schema, "model.net")

    def _choice(self, groups: Sequence[Group], steps: Sequence[float], limit: float) -> Choice:
        fitting = [k + 1 for k, cost in enumerate(steps) if cost <= limit]
        if not fitting:
            raise ConfigError(
                "No group of fields fits the budget.",
                where="budget.limits",
                expected=f"at least {steps[0]:,.6g} {_unit(self.metric)}",
                found=f"{limit:,.6g}",
            )
        kept, cost = tuple(groups[: fitting[-1]]), steps[fitting[-1] - 1]
        folder = Path(self.cfg.out)
        name = f"{folder.name}/{self.cfg.name or self.summary.name.replace('/', '_')}-{self.metric}_{limit:.6g}"
        choice = Choice(name, kept, cost, limit, folder / f"{Path(name).name}.yaml")
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(choice.path, self._experiment(choice))
        return choice

    def _experiment(self, choice: Choice) -> str:
        bases = [o.partition("=")[2] for o in self.summary.overrides if o.startswith("+experiment=")]
        others = [o for o in self.summary.overrides if not o.startswith(("+experiment=", "name=", "seed=", "resume="))]
        kept = [f for group in choice.groups for f in group.fields]
        body = {
            "defaults": [*(f"/experiment/{_name(base)}" for base in bases), "_self_"],
            "name": choice.name,
            "model": {"net": {"fields": kept, "gate": False}},
        }
        configs = next((p.parent for p in choice.path.parents if p.name == "experiment"), None)
        command = shlex.join([*train_command(config_dir=configs), *others, f"+experiment={choice.name}"])
        of_run = (
            f"of the run {self.summary.name}: {choice.cost:,.6g} of at most {choice.limit:,.6g} {_unit(self.metric)}."
        )
        said = (f"The {len(choice.groups)} groups of fields with the largest gates {of_run}", f"Run: {command}")
        header = "# @package _global_\n" + "".join(f"# {' '.join(line.split())}\n" for line in said)
        # A config is resolved when it is used, and names in it come from the files of a run.
        return header + yaml.safe_dump(plain_data(body, str(self.folder)), sort_keys=False)


def _name(experiment: str) -> str:
    if not re.fullmatch(r"[\w./-]+", experiment):
        raise DataError("The run's experiment has no name.", where=SUMMARY_FILE, found=experiment[:200])
    return experiment


def _shares(steps: Sequence[float]) -> list[float]:
    """Three quarters, half and a quarter of the way from the first group alone to all of them."""
    return [steps[0] + share * (steps[-1] - steps[0]) for share in (0.75, 0.5, 0.25)]


def _unit(metric: str) -> str:
    return {"flops": "FLOPs a candidate", "milliseconds": "ms for 1,000 candidates", "groups": "groups"}[metric]


def _table(groups: Sequence[Group], steps: Sequence[float], metric: str) -> Table:
    title = f"Groups of fields, best first; costs in {_unit(metric)}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("group", "gate", "own cost", "cost so far"):
        table.add_column(name, justify="left" if name == "group" else "right")
    for group, cost in zip(groups, steps, strict=True):
        table.add_row(group.name, f"{group.gate:.4f}", f"{group.cost:,.4g}", f"{cost:,.6g}")
    return table
