"""What configs offer is read, and what the package has to offer is in a config."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from functools import cache

import pytest
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from distill import metrics
from distill.errors import ConfigError
from distill.jobs.keys import KEYS
from distill.jobs.values import check_values, leaves
from distill.metrics.base import PointwiseMetric, RequestMetric
from tests.marks import slow_except
from tests.messages import CONF
from tests.models.composing import composing
from tools.error_texts import SOURCE

PARQUET = ["data=parquet", "data.source=a", "data.schema=b"]
COMPOSITIONS = [
    ("config", ["+experiment=quickstart", "metrics=all"]),
    ("config", ["+experiment=funnel/two_tower_from_dcn_v2-cotrained"]),
    ("config", [*PARQUET, "teacher=ensemble", "teacher.members=[a,b]"]),
    ("config", [*PARQUET, "teacher=column", "scheduler=linear", "+loss_term@loss.terms.list=lambdarank"]),
    ("config", ["data=prepared", "data.root=a", "teacher=checkpoint", "teacher.path=b"]),
    ("config", ["+sweep=optuna", "+sampler@sampling.a=random_negatives", "+sampler@sampling.b=pseudo_labels"]),
    ("prepare", []),
    ("score", ["teacher.path=a"]),
    ("select_fields", []),
    ("cascade", ["path=a", "teacher_path=b"]),
    ("config", ["data=mind", "data.source=a"]),
    ("past_vectors", ["signals=a", "out=b"]),
]
IDS = [" ".join([name, *overrides])[:60] for name, overrides in COMPOSITIONS]


@cache
def composed(index: int) -> DictConfig:
    name, overrides = COMPOSITIONS[index]
    with composing():
        return compose(name, overrides)


def changed(index: int, key: str, value: object) -> DictConfig:
    """A composition with another value at one key."""
    cfg = composed(index).copy()
    OmegaConf.set_struct(cfg, False)
    OmegaConf.update(cfg, key, value, merge=False)
    return cfg


def of_parts(content: object, where: str = "") -> list[str]:
    """The keys of the parts (`_target_`) of a config."""
    if not isinstance(content, dict):
        return []
    below = [
        part for key, value in content.items() for part in of_parts(value, f"{where}.{key}" if where else str(key))
    ]
    return [*([where] if "_target_" in content else []), *below]


def plain_keys(index: int) -> list[str]:
    """The keys of a config that are not arguments of a part."""
    content = OmegaConf.to_container(composed(index), resolve=False)
    parts = tuple(f"{part}." for part in of_parts(content))
    return [key for key, _ in leaves(content, whole=True) if not key.startswith(parts)]


@pytest.mark.parametrize("index", range(len(COMPOSITIONS)), ids=IDS)
def test_the_values_of_the_configs_hold(index: int) -> None:
    check_values(composed(index))


@pytest.mark.parametrize("index", range(len(COMPOSITIONS)), ids=IDS)
def test_every_key_says_what_it_takes_and_is_read(index: int) -> None:
    source = _names_in_source()
    for key in plain_keys(index):
        assert any(fnmatchcase(key, pattern) for pattern in KEYS), f"{key} is not in distill.jobs.keys.KEYS"
        assert key.startswith("study.params.") or key.rpartition(".")[2] in source, f"nothing reads {key}"


@pytest.mark.parametrize("index", slow_except([0, 2, 5, 6, 7, 8, 11], 7, 8), ids=lambda index: IDS[index])
def test_bad_values_are_refused_by_their_key(index: int) -> None:
    """Text for a number, a list for a scalar, a number for a list, NaN: at every key of a config."""
    taken = []
    content = OmegaConf.to_container(composed(index), resolve=True)
    for key, value in leaves(content, whole=True):
        if key.endswith("_target_") or key.startswith(("study.params.", "data.main_task")):
            continue
        for bad in _bad_values(value):
            place = refused_at(changed(index, key, bad))
            if place is None or not (key in place or place.startswith(key.rpartition(".")[0])):
                taken.append(f"{key}={bad!r}: {place}")
    assert not taken, "\n".join(taken)


def refused_at(cfg: DictConfig) -> str | None:
    try:
        check_values(cfg)
    except ConfigError as error:
        return error.where
    return None


def _bad_values(value: object) -> list[object]:
    """Values of other kinds than a config's own."""
    if isinstance(value, bool):
        return ["abc", [1], {"a": 1}]
    if isinstance(value, (int, float)):
        return ["abc", [[1]], float("nan"), {"a": 1}]
    if isinstance(value, str):
        return [[["a"]], {"a": 1}, float("nan")]
    if isinstance(value, list):
        return [{"a": 1}, 1.5, float("nan")]
    return [float("nan")]


def test_every_metric_is_offered() -> None:
    offered = set(
        re.findall(r"distill\.metrics\.(\w+)", "\n".join(p.read_text() for p in (CONF / "metrics").iterdir()))
    )
    known = {name for name in metrics.__all__ if _is_metric(getattr(metrics, name))}
    assert known - offered == set()


def _is_metric(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, (PointwiseMetric, RequestMetric)) and not _is_abstract(found)


def _is_abstract(found: type) -> bool:
    return bool(getattr(found, "__abstractmethods__", None)) or found in (PointwiseMetric, RequestMetric)


@cache
def _names_in_source() -> set[str]:
    """What the package (but for the table of keys) and interpolations of configs name."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if path.name == "keys.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
    text = "\n".join(path.read_text(encoding="utf-8") for path in CONF.rglob("*.yaml"))
    return found | {name.rpartition(".")[2] for name in re.findall(r"\$\{(?:oc\.select:)?([\w.]+)", text)}


def test_a_variable_of_ones_own_is_read_where_a_value_refers_to_it() -> None:
    with composing():
        check_values(compose("config", ["+width=3", "seed=${width}"]))
        check_values(compose("config", ["+own.width=3", "seed=${own.width}"]))
        with pytest.raises(ConfigError, match=r"Nothing reads this key.*\n.*own\.height"):
            check_values(compose("config", ["+own.width=3", "+own.height=3", "seed=${own.width}"]))
