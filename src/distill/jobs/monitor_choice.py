"""What a training goes by where a config leaves it open: the metric, and whether more or less of it is better."""

from __future__ import annotations

import logging
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill.errors import ConfigError
from distill.jobs.machine import AUTO
from distill.jobs.manifest import RunRecord
from distill.jobs.monitored import check_measured, measured_names, seen_of_teacher
from distill.jobs.node import build
from distill.jobs.sizes import is_auto, with_values
from distill.jobs.values import leaves
from distill.metrics import MetricSuite
from distill.ops.ranks import rank
from distill.schema import Schema, Task

_log = logging.getLogger(__name__)
MONITOR, MODE = "callbacks.monitor", "callbacks.mode"
_OBJECTIVE, _OBJECTIVE_MODE = "study.objective", "study.mode"
_MODES = {"up": "max", "down": "min"}
_WANTED = {"binary": ("auc", "ndcg", "logloss"), "graded": ("ndcg",), "value": ("rmse",)}  # the first that is measured
_LABELS = {"binary": "0 or 1", "graded": "grades", "value": "numbers"}
_GROUPS = {"binary": "metrics=default", "graded": "metrics=graded", "value": "metrics=value"}


def with_monitor(
    cfg: DictConfig, schema: Schema, record: RunRecord | None = None, composed: DictConfig | None = None
) -> tuple[DictConfig, dict[str, str]]:
    """Returns a config with what `auto` stands for in `callbacks.monitor` and `.mode`, and in the two of a study.

    The metric is that of `data.main_task`: its AUC if its labels are 0 or 1, NDCG at the largest cut-off if they are
    grades, and the root of the squared error if they are numbers. Whether more is better, the metric itself says.

    Args:
        cfg: Without interpolations.
        schema: Of the data.
        record: Of a run that goes on, which goes by what it went by.
        composed: Of a run, the config with its interpolations: what refers to the two keys, such as a callback of the
            user's, follows them, and a new run says what was chosen.

    Returns:
        The config, and the keys that are `auto` with their values.

    Raises:
        ConfigError: There is no such task, no such metric of it, or what is better of the metric is not known.
    """
    then = {} if record is None else {key: record.text(key) for key in (MONITOR, MODE) if is_auto(cfg, key)}
    own = with_values(cfg, then)
    found = then | (_chosen(own, schema) if AUTO in (own.callbacks.monitor, own.callbacks.mode) else {})
    own = with_values(own, found)
    if found and composed is not None:
        own = with_values(own, found := {**_followers(composed, found), **found})
        if record is None and rank() == 0:
            _say(found, own, schema)
    return with_values(own, _of_study(own)), found


def _chosen(cfg: DictConfig, schema: Schema) -> dict[str, str]:
    found = {}
    if (monitor := str(cfg.callbacks.monitor)) == AUTO:
        monitor = found[MONITOR] = f"val/{_metric_of(_main_task(cfg, schema), cfg, schema)}"
    else:
        check_measured(cfg, schema)  # of a mistyped one nothing is better
    if cfg.callbacks.mode == AUTO:
        found[MODE] = _mode(cfg, monitor, MODE)
    elif MONITOR in found and (better := _mode(cfg, monitor, MODE)) != cfg.callbacks.mode:
        raise ConfigError(
            f"The metric that is chosen, {monitor}, has its best values at the other end.",
            where=MODE,
            expected=f"{better}, or {AUTO}",
            found=str(cfg.callbacks.mode),
            remedy=f"Leave {MODE} out, or name the metric: {MONITOR}=val/TASK/METRIC.",
        )
    return found


def _of_study(cfg: DictConfig) -> dict[str, str]:
    if cfg.get("study") is None:
        return {}
    found = {_OBJECTIVE: str(cfg.callbacks.monitor)} if is_auto(cfg, _OBJECTIVE) else {}
    objective = found.get(_OBJECTIVE, str(cfg.study.objective))
    if is_auto(cfg, _OBJECTIVE_MODE):
        same = objective == cfg.callbacks.monitor
        found[_OBJECTIVE_MODE] = str(cfg.callbacks.mode) if same else _mode(cfg, objective, _OBJECTIVE_MODE)
    return found


def _main_task(cfg: DictConfig, schema: Schema) -> Task:
    found = [task for task in schema.tasks if task.name == cfg.data.main_task]
    if not found:
        raise ConfigError(
            "The task that early stopping and the best checkpoint go by is unknown.",
            where="data.main_task",
            expected=f"a task of the dataset: {', '.join(schema.task_names)}",
            found=str(cfg.data.main_task),
            remedy="Set data.main_task.",
        )
    return found[0]


def _metric_of(task: Task, cfg: DictConfig, schema: Schema) -> str:
    measured = measured_names(cfg, schema, seen_of_teacher(cfg, schema))
    own = [name for names in measured.values() for name in names if name.rpartition("/")[0] == task.name]
    for wanted in _WANTED[task.kind]:
        cut = [name for name in own if re.fullmatch(rf"{wanted}(@\d+)?", name.rpartition("/")[2])]
        if cut:
            return max(cut, key=lambda name: int(name.partition("@")[2] or 0))
    raise ConfigError(
        f"None of the metrics of this run suits {task.name}, whose labels are {_LABELS[task.kind]}.",
        where=MONITOR,
        expected=" or ".join(f"{task.name}/{wanted}" for wanted in _WANTED[task.kind]),
        found=", ".join(sorted(own)) or "none of the task",
        remedy=f"Take other metrics, such as {_GROUPS[task.kind]}, or name one: {MONITOR}=val/TASK/METRIC.",
    )


def _mode(cfg: DictConfig, metric: str, key: str) -> str:
    suite: MetricSuite = build(cfg.metrics, "metrics", MetricSuite)
    goal = suite.goal(metric)
    if goal.better not in _MODES:
        raise ConfigError(
            f"Whether more or less of {metric} is better is not known.",
            where=key,
            expected="max or min",
            found=AUTO,
            remedy=f"Give {key}, or another metric.",
        )
    return _MODES[goal.better]


def _say(found: dict[str, str], cfg: DictConfig, schema: Schema) -> None:
    said = ", ".join(f"{key}={found[key]}" for key in (MONITOR, MODE) if key in found)
    if MONITOR in found:
        task = _main_task(cfg, schema)
        reason = f"labels of {task.name} are {_LABELS[task.kind]}"
    else:
        reason = f"{'less' if found[MODE] == 'min' else 'more'} of {cfg.callbacks.monitor} is better"
    _log.info("auto: %s, as %s.", said, reason)


def _followers(composed: DictConfig, found: dict[str, str]) -> dict[str, str]:
    """The keys of a config that are nothing but a reference to one of those found."""
    plain: Any = OmegaConf.to_container(composed, resolve=False)
    texts = leaves({name: node for name, node in plain.items() if name != "study"}, whole=True)
    referred = {f"${{{key}}}": value for key, value in found.items()}
    return {key: referred[text] for key, text in texts if isinstance(text, str) and text in referred}
