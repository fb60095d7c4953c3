"""A proposal as the text of a `schema.yaml`: one line each, with a comment; names are quoted whatever they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from distill.data.propose.proposal import Proposal
from distill.data.propose.view import Line

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WIDTH = 1 << 30  # no line is folded
_LONGEST = 400  # characters of a comment
_LEFT_OUT = "left out: "
_MOST_NAME = 50


def schema_text(proposal: Proposal, name: str, source: str) -> str:
    """Writes a proposal as YAML that `load_schema` reads; where no task or field was found, their list is empty.

    Args:
        proposal: What to write.
        name: Of the dataset, see `dataset_name`.
        source: What was looked at, for the first line.
    """
    layout = "flat" if proposal.layout.shape == "flat" else "requests"
    lines = [
        comment(f"Proposed by `distill schema init` from {source}. Lines say what was seen: check them."),
        f"name: {flow(name)}",
        f"layout: {layout}{_behind(proposal.layout.why)}",
        *_keys(proposal.keys),
        *_fields(proposal),
        *_tasks(proposal),
    ]
    if proposal.teacher is not None:
        lines.append(comment(f"teacher: {flow(proposal.teacher.spec)}{_behind(proposal.teacher.why)}"))
    return "\n".join(lines) + "\n"


def dataset_name(text: str) -> str:
    """Turns a text, such as the name of a file, into the name of a dataset."""
    name = re.sub(r"[^\w .-]", "_", text)[:_MOST_NAME].strip()
    return name if re.match(r"\w", name) else f"data{name}"[:_MOST_NAME]


def flow(value: Any) -> str:
    """Writes plain data as YAML on one line, so that it reads back the same within lists and mappings too."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    style = '"' if isinstance(value, str) and not _PLAIN.fullmatch(value) else None
    text = yaml.safe_dump([value], default_flow_style=True, default_style=style, allow_unicode=True, width=_WIDTH)
    return text.strip()[1:-1]


def comment(text: str) -> str:
    """Makes a comment of one line of a text; what cannot be printed in it is written as an escape."""
    return f"# {printable(text if len(text) <= _LONGEST else text[:_LONGEST] + '…')}"


def printable(text: str) -> str:
    """Returns text with an escape in place of each character that a line of text or a terminal cannot show."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _behind(text: str) -> str:
    return f"  {comment(text)}" if text else ""


def _keys(keys: Mapping[str, Line]) -> Iterator[str]:
    yield "keys:" if any(line.used for line in keys.values()) else "keys: {}  # lines below stand in place of {}"
    for key, line in keys.items():
        yield f"  {'' if line.used else '# '}{key}: {flow(line.spec)}{_behind(line.why)}"


def _fields(proposal: Proposal) -> Iterator[str]:
    yield (
        "fields:"
        if any(line.used for line in proposal.fields)
        else "fields: []  # NONE RECOGNISED: lines stand in place of []"
    )
    if not proposal.keys["item"].used and proposal.layout.shape != "flat":
        yield "  # Without an item key, what is not of the request is said to be of the candidate: check which of these"
        yield "  # depend on both (side: cross)."
    if proposal.layout.shape == "flat" and not any(_is_of_request(line) for line in proposal.fields):
        yield "  # All are said to be of the candidate. A two-tower model needs those of the request, the user or the"
        yield "  # context on `side: request`."
    yield from _list(proposal.fields)


def _tasks(proposal: Proposal) -> Iterator[str]:
    yield "tasks:" if proposal.tasks else "tasks: []  # NONE RECOGNISED: lines stand in place of []"
    if not proposal.tasks:
        yield f"  # - {{name: click, column: COLUMN}}{_behind('0 and 1, of each candidate')}"
        events = {"name": "click", "events": {"by": ["request", "item"], "within": "30m"}}
        if proposal.keys["item"].used and proposal.keys["time"].used:
            yield f"  # - {flow(events)}{_behind('of a log of clicks: data.events={click: …}')}"
        for name in proposal.chosen:
            why = "1 where the item of a candidate is in this list"
            yield f"  # - {{name: click, in: {flow(name)}}}{_behind(why)}"
    yield from _list(proposal.tasks)


def _is_of_request(line: Line) -> bool:
    return line.used and line.spec["side"] == "request"


def _list(lines: Iterable[Line]) -> Iterator[str]:
    for line in lines:
        if line.used:
            yield f"  - {flow(line.spec)}{_behind(line.why)}"
        else:
            what = flow(line.spec) if line.spec is not None else f"{{column: {flow(line.column)}}}"
            yield f"  # - {what}{_behind(_LEFT_OUT + line.why)}"
