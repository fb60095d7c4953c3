"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
import torch

from tools.error_texts import SOURCE

MODULES = sorted(path for path in SOURCE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


def failures(module: object) -> tuple[int, int]:
    """Returns how many examples of a module fail, of how many. They may use `torch`."""
    found = doctest.testmod(module, extraglobs={"torch": torch})  # type: ignore[arg-type]
    return found.failed, found.attempted


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_examples_give_what_they_say(path: Path) -> None:
    name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    failed, attempted = failures(importlib.import_module(name))
    assert attempted > 0
    assert failed == 0


def test_an_example_that_is_wrong_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrong_example.py").write_text(
        'def one() -> int:\n    """\n    >>> one()\n    2\n    """\n    return 1\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert failures(importlib.import_module("wrong_example")) == (1, 1)
