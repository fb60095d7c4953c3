"""The texts of the errors in the source, and the keys that a user can set: what tests/test_messages.py compares."""

from __future__ import annotations

import ast
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
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

SOURCE, CONF = ROOT / "src", ROOT / "conf"
ANY = "\0"  # stands for a placeholder of an f-string
ERRORS = {"ConfigError", "SchemaError", "DataError", "SignalError"}


@dataclass(frozen=True)
class Text:
    """A text of an error: the file and line, which argument of which error, and its words with ANY for placeholders."""

    place: str
    error: str
    argument: str
    words: str
    module: Path


def _words(node: ast.expr | None) -> list[str]:
    """The texts that an expression may stand for; nothing of a name."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(v.value if isinstance(v, ast.Constant) else ANY for v in node.values)]
    if isinstance(node, ast.IfExp):
        return [*_words(node.body), *_words(node.orelse)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [a + b for a in _words(node.left) or [ANY] for b in _words(node.right) or [ANY]]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join" and node.args:
        inner = node.args[0]
        return _words(inner.elt) if isinstance(inner, ast.GeneratorExp) else []
    return []


@cache
def _trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


def _takers() -> dict[str, int]:
    """Functions that hand a place on to an error: name to the position of their argument `where`."""
    found = {}
    for tree in _trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args) if a.arg != "self"]
                if "where" in names:
                    found[node.name] = names.index("where")
    return found


def texts() -> Iterator[Text]:
    """All places and remedies of the errors that a user can cause."""
    takers = _takers()
    for path, tree in _trees().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            place = f"{path.relative_to(ROOT)}:{node.lineno}"
            given = {k.arg: k.value for k in node.keywords if k.arg}
            if name in ERRORS:
                for argument in ("where", "remedy"):
                    for words in _words(given.get(argument)):
                        yield Text(place, name, argument, words, path)
            elif name in takers:
                position = takers[name]
                value = given.get("where") or (node.args[position] if len(node.args) > position else None)
                for words in _words(value):
                    yield Text(place, "", "where", words, path)


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
    choices = [[f"{group}={name}" for name in _options(group)] for group in groups]
    for together in zip_longest(*choices):  # nothing is built: what does not go together is composed all the same
        yield "config", [choice for choice in together if choice is not None]
    yield "config", [f"+loss_term@loss.terms.{name}={name}" for name in _options("loss_term")]
    yield "config", [f"+sampler@sampling.{name}={name}" for name in _options("sampler")]
    yield "config", [f"+sequence@model.net.sequence_{name}={name}" for name in _options("sequence")]
    yield "config", ["+sweep=optuna"]
    yield from (("config", ["data=parquet", f"split@data.adapter.split={name}"]) for name in _options("split"))
    yield from (
        (name, []) for name in ("prepare", "score", "predict", "export", "evaluate", "select_fields", "cascade")
    )


@cache
def config_keys() -> frozenset[str]:
    """Every key of every config that the groups of `conf` make up."""
    found: set[str] = set()
    with composing():
        for name, overrides in _compositions():
            content = OmegaConf.to_container(compose(name, overrides), resolve=False)
            found |= set(_flat(content))
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
