"""Errors are written by one hand: what is wrong and what to do are sentences; only commands end without a full stop."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.messages import ROOT

ERRORS = {"ConfigError", "DataError", "SchemaError", "SignalError", "RankError"}
MODULES = sorted((ROOT / "src" / "distill").rglob("*.py"))


def _text(node: ast.expr) -> str | None:
    """A literal as it is written, with `…` for what is filled in; None of what is not a literal."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join("…" if isinstance(part, ast.FormattedValue) else str(_text(part)) for part in node.values)
    return None


def _sentences(module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
            named = [k.value for k in node.keywords if k.arg in ("problem", "remedy")]
            branches = (
                b for n in (*node.args[:1], *named) for b in ((n.body, n.orelse) if isinstance(n, ast.IfExp) else (n,))
            )
            yield from ((node.lineno, text) for branch in branches if (text := _text(branch)) is not None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src" / "distill")))
def test_problems_and_remedies_are_sentences(path: Path) -> None:
    for line, text in _sentences(ast.parse(path.read_text(encoding="utf-8"))):
        begins = re.match(r"[A-Zα…“'`(]|[a-z_]+[.=]|train has", text)
        ends = text.endswith((".", "?", "…")) or "=" in text.split()[-1]
        assert begins, f"{path}:{line}: {text!r}"
        assert ends, f"{path}:{line}: {text!r}"
