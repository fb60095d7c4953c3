"""The texts of the errors that a user can cause, read from the source: for tests, and for the site's page of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
ANY = "\0"  # stands for a placeholder of an f-string
ERRORS = {"ConfigError", "SchemaError", "DataError", "SignalError"}
ARGUMENTS = ("problem", "where", "expected", "found", "remedy")


@dataclass(frozen=True)
class Text:
    """A text of an error: the file and line, which argument of which error, and its words with ANY for placeholders."""

    place: str
    error: str
    argument: str
    words: str
    module: Path


@dataclass(frozen=True)
class Message:
    """One place where an error is raised: what each of its arguments may say, with ANY for placeholders."""

    place: str
    error: str
    module: Path
    arguments: dict[str, tuple[str, ...]]


def messages() -> Iterator[Message]:
    """Every place of the source that makes one of the errors."""
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (name := _name(node)) in ERRORS:
                given = {k.arg: k.value for k in node.keywords if k.arg} | dict(
                    zip(ARGUMENTS, node.args[:1], strict=False)
                )
                said = {argument: tuple(_words(given.get(argument))) for argument in ARGUMENTS}
                yield Message(f"{path.relative_to(ROOT)}:{node.lineno}", name, path, said)


def texts() -> Iterator[Text]:
    """All places and remedies of the errors, and places that are handed to functions which raise them."""
    for message in messages():
        for argument in ("where", "remedy"):
            for words in message.arguments[argument]:
                yield Text(message.place, message.error, argument, words, message.module)
    takers = _takers()
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (name := _name(node)) in takers:
                given = {k.arg: k.value for k in node.keywords if k.arg}
                position = takers[name]
                value = given.get("where") or (node.args[position] if len(node.args) > position else None)
                for words in _words(value):
                    yield Text(f"{path.relative_to(ROOT)}:{node.lineno}", "", "where", words, path)


@cache
def trees() -> dict[Path, ast.Module]:
    """The modules of the source, parsed."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


def _name(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


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
def _takers() -> dict[str, int]:
    """Functions that hand a place on to an error: name to the position of their argument `where`."""
    found = {}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args) if a.arg != "self"]
                if "where" in names:
                    found[node.name] = names.index("where")
    return found
