"""The commands that stand on the pages: read from their blocks, and taken apart as a shell would."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tools.error_texts import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md", *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPTS = {"select_fields": "select"}  # the one whose file has another name than the command
STARTS = re.compile(r"(?:python (?:train|scripts/(?P<script>\w+))\.py|distill (?P<name>[a-z]+))(?= |$)")


@dataclass(frozen=True)
class PageCommand:
    """A command of a page.

    Attributes:
        place: Page and line of its block's first line.
        name: Of the command, as after `distill`; or `benchmark`.
        words: Its arguments.
    """

    place: str
    name: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.place}: {self.name} {' '.join(self.words)}"


def page_commands() -> Iterator[PageCommand]:
    """Every command in a block of a page, but for those that are cut short by an ellipsis."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            line = text[: block.start()].count("\n") + 2
            yield from _commands(block[2], f"{page.relative_to(ROOT)}:{line}")


def _commands(block: str, place: str) -> Iterator[PageCommand]:
    for line in block.replace("\\\n", " ").splitlines():
        if (start := STARTS.match(line.strip())) and "…" not in line.partition(" #")[0]:
            name = start["name"] or start["script"] or "train"
            words = shlex.split(_expanded(line.strip()[start.end() :].rstrip("&")), comments=True)
            yield PageCommand(place, SCRIPTS.get(name, name), tuple(words))


def _expanded(line: str) -> str:
    """What a shell makes of the variables of the pages: $S is a place of theirs, $P more overrides."""
    return line.replace("$PWD", str(ROOT)).replace("$S", "s3://bucket").replace("$P", "paths.runs=s3://bucket/runs")
