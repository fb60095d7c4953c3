"""The keys that a user can set, and the classes that configs name: tests/test_messages.py looks for them in errors."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

from hydra import compose
from hydra.utils import get_class
from omegaconf import OmegaConf
from pydantic import BaseModel

from distill.data.raw import RawDataset
from distill.losses.schedule import Schedule
from distill.schema import Schema
from distill.serving.diversity.options import Rerank
from tests.jobs.entry import ROOT
from tests.models.composing import composing

CONF = ROOT / "conf"
BESIDE = "__option__"


def _flat(node: Any, where: str = "") -> Iterator[str]:
    if where:
        yield where
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _flat(value, f"{where}.{key}" if where else str(key))


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def _compositions() -> Iterator[tuple[str, list[str]]]:
    groups = ("data", "model", "teacher", "loss", "metrics", "trainer", "optimizer", "scheduler", "embedding")
    for group in groups:  # all options of a group beside each other
        yield "config", [f"+{group}@{group}{BESIDE}{name}={name}" for name in _options(group)]
    yield "config", [f"+loss_term@loss.terms.{name}={name}" for name in _options("loss_term")]
    yield "config", [f"+sampler@sampling.{name}={name}" for name in _options("sampler")]
    yield "config", [f"+sequence@model.net.sequence_{name}={name}" for name in _options("sequence")]
    yield "config", ["+sweep=optuna"]
    yield from (("predict", [f"engine={name}"]) for name in _options("engine"))
    splits = [f"+split@data.adapter.split{BESIDE}{name}={name}" for name in _options("split")]
    yield "config", ["data=parquet", *splits]
    yield from (
        (name, [])
        for name in ("prepare", "score", "past_vectors", "predict", "export", "evaluate", "select_fields", "cascade")
    )


@cache
def config_keys() -> frozenset[str]:
    """Every key of every config that the groups of `conf` make up."""
    found: set[str] = set()
    with composing():
        for name, overrides in _compositions():
            content = OmegaConf.to_container(compose(name, overrides), resolve=False)
            found |= {re.sub(rf"{BESIDE}\w+", "", key) for key in _flat(content)}
    return frozenset(found | {f"rerank.{name}" for name in Rerank.model_fields})


@cache
def parts() -> dict[str, type[Any]]:
    """The classes that configs name, by their names, and those that they extend."""
    targets = set()
    for path in CONF.rglob("*.yaml"):
        targets |= set(re.findall(r"_target_: (distill\.[\w.]+)", path.read_text(encoding="utf-8")))
    classes = [get_class(target) for target in targets]
    classes += [RawDataset, *Schedule.__subclasses__()]
    return {base.__name__: base for found in classes for base in found.__mro__ if base is not object}


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for inner in typing.get_args(kind):
        yield from _models(inner)


@cache
def schema_keys(model: type[BaseModel] = Schema) -> frozenset[str]:
    """Every key of a `schema.yaml`, without the numbers and names in between."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        found.add(name)
        for inner in _models(field.annotation):
            found |= {f"{name}.{key}" for key in schema_keys(inner)}
    return frozenset(found)
