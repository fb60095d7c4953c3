"""Brings the prose of Markdown files to one width: python tools/wrap_pages.py FILE …

Code, tables, headings and HTML stay as they are. A code span or a link's target is never broken.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

WIDTH = 120
_FENCE = re.compile(r"\s*(```|~~~)")
_ITEM = re.compile(r"(\s*)([-*]|\d+\.) +")
_KEPT = re.compile(r"\s*(\||#|<|>|!!!|:::|\?\?\?|!\[|---)")
_WORD = re.compile(r"(?:`+[^`]*`+|\]\([^)]*\)|\S)+")
_STARTS = re.compile(r"[-*+]$|[#>|]|\d+[.)]$")  # a word that would begin something else at the start of a line


def wrapped(text: str) -> str:
    """Returns a page whose paragraphs and list items are wrapped at `WIDTH`."""
    return "\n".join(_lines(text.splitlines())).rstrip("\n") + "\n"


def _lines(lines: list[str]) -> Iterator[str]:
    paragraph: list[str] = []
    code, indented = False, True  # four blanks begin code, but not in a list
    for line in [*lines, ""]:
        fence = bool(_FENCE.match(line))
        begins = bool(_ITEM.match(line)) and not code
        own = (
            code or fence or not line.strip() or bool(_KEPT.match(line)) or (not paragraph and _is_code(line, indented))
        )
        if (own or begins) and paragraph:
            yield from _wrap(paragraph)
            paragraph = []
        if fence:
            code = not code
        if own:
            yield line.rstrip()
        else:
            paragraph.append(line)
        if begins:
            indented = False
        elif line.strip() and not line.startswith(" ") and not code:
            indented = True


def _is_code(line: str, indented: bool) -> bool:
    return indented and line.startswith("    ")


def _wrap(lines: list[str]) -> Iterator[str]:
    item = _ITEM.match(lines[0])
    first = item.group(0) if item else lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    rest = " " * len(first)
    words = _WORD.findall(" ".join([lines[0][len(first) :], *(line.strip() for line in lines[1:])]))
    line = first
    for word in words:
        if (
            len(line) + len(word) + (line not in (first, rest)) > WIDTH
            and line not in (first, rest)
            and not _STARTS.match(word)
        ):
            yield line
            line = rest
        line += word if line in (first, rest) else f" {word}"
    yield line


def main() -> None:
    """Rewrites the files that the command line names."""
    for path in map(Path, sys.argv[1:]):
        path.write_text(wrapped(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
