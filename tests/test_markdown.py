"""The prose of every page has one width."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.error_texts import ROOT
from tools.wrap_pages import WIDTH, wrapped

PAGES = sorted([*ROOT.glob("*.md"), ROOT / "data" / "README.md", *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_is_wrapped(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == wrapped(text), f"python tools/wrap_pages.py {path.relative_to(ROOT)}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb", "a b"),
        ("- " + "word " * 30, "- " + "word " * 22 + "word\n  " + "word " * 6 + "word"),
        (f"see {'x' * WIDTH}\nnow", f"see\n{'x' * WIDTH}\nnow"),
        ("x" * 110 + " `a b c d e f`", "x" * 110 + "\n`a b c d e f`"),
        ("x" * 110 + " [a](b c d e f g) d", "x" * 110 + "\n[a](b c d e f g) d"),
        ("x" * 118 + " - y", "x" * 118 + " -\ny"),
        ("x" * 118 + " 1. y", "x" * 118 + " 1.\ny"),
        ("# " + "x " * 80, "# " + "x " * 80),
        ("| " + "x " * 80, "| " + "x " * 80),
        ("```\n" + "x " * 80 + "\n```", "```\n" + "x " * 80 + "\n```"),
        ("a\n\n    " + "x " * 80 + "\n\nb", "a\n\n    " + "x " * 80 + "\n\nb"),
        ("1. a\n   b\n\n   c\n   d", "1. a b\n\n   c d"),
        ("::: a.b\n    options:\n      c: d", "::: a.b\n    options:\n      c: d"),
    ],
)
def test_prose_is_wrapped_and_nothing_else(text: str, expected: str) -> None:
    assert wrapped(text) == "\n".join(line.rstrip() for line in expected.split("\n")) + "\n"
    assert wrapped(wrapped(text)) == wrapped(text)
    assert wrapped(text).split() == text.split()


def test_a_page_with_a_long_line_is_found() -> None:
    text = "word " * 40
    assert text != wrapped(text)
    assert max(map(len, wrapped(text).splitlines())) <= WIDTH
