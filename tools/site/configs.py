"""The page of config groups: every group of `conf/`, its options with what their first comment says, and their keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tools.error_texts import ROOT

CONF = ROOT / "conf"
# Experiments are listed by what they show (docs/quickstart.md); Hydra's own groups are Hydra's.
LEFT_OUT = ("hydra", "experiment")
HEAD = """# Every config group

`GROUP=OPTION` on the command line chooses one of a group's options; `KEY=VALUE` sets a key below it.
Experiments have a [list of their own](../quickstart.md#experiments). `distill train --help` lists all groups, and
`--cfg job` shows what your arguments make of them. A group of your
own options is a folder of the same name under `--config-dir`: [commands](../commands.md#your-own-experiments).

"""


def page() -> str:
    """Returns the page, in Markdown."""
    groups = sorted({path.parent for path in CONF.rglob("*.yaml") if path.parent != CONF})
    shown = [group for group in groups if group.relative_to(CONF).parts[0] not in LEFT_OUT]
    return HEAD + "\n".join(line for group in shown for line in _group(group)) + "\n"


def _group(group: Path) -> Iterator[str]:
    yield f"## `{group.relative_to(CONF)}`\n"
    for path in sorted(group.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        yield f'??? note "`{path.stem}`{_said(text)}"\n'
        yield "    ```yaml"
        yield from (f"    {line}".rstrip() for line in text.splitlines())
        yield "    ```\n"


def _said(text: str) -> str:
    """The first sentence of the comment at the top, without what would end the title."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# ").strip())
    sentence = re.split(r"(?<=\.)\s", " ".join(lines), maxsplit=1)[0]
    return f" {sentence}".replace('"', "”").rstrip() if sentence else ""
