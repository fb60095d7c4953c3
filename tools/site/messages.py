"""The page of error messages: every text of the source, so that a search for its words finds what to do."""

from __future__ import annotations

import html
import re
from collections import defaultdict

from tools.error_texts import ANY, SOURCE, Message, messages

HEAD = """---
search: {boost: 3}
---
# Error messages

A message has up to five lines: what is wrong, **where** (a key, column or file of yours), what was **expected**,
what was **found**, and what to do (**remedy**). Search this page, or the site, for its words; `…` stands for what is
yours. The commands print it without a traceback and end with exit status 2; in Python it is a `distill.DistillError`.

"""


def page() -> str:
    """Returns the page, in Markdown: a section for each package, and in it one for each error, which a search finds."""
    sections: dict[str, dict[str, None]] = defaultdict(dict)
    for message in messages():
        if said := _said(message):
            sections[_package(message)][said] = None
    parts = [f"## `{name}`\n\n" + "\n".join(texts) for name, texts in sorted(sections.items())]
    return HEAD + "\n".join(parts)


def _package(message: Message) -> str:
    return ".".join(message.module.relative_to(SOURCE).with_suffix("").parts[:2])


def _said(message: Message) -> str:
    """The problem as a title, which is too deep for the table of contents; then the lines that are known."""
    problem = " / ".join(_shown(words) for words in message.arguments["problem"])
    if not problem.strip("… ."):  # handed on from elsewhere, where it has words
        return ""
    rest = [
        f"*{name}:* {' / '.join(_shown(words) for words in texts)}"
        for name, texts in message.arguments.items()
        if name != "problem" and texts and any(_shown(words).strip("… .") for words in texts)
    ]
    return f"#### {problem}\n\n" + "  \n".join(rest) + "\n" * bool(rest)


def _shown(words: str) -> str:
    """A text with … for what is put in, and nothing in it that Markdown would read."""
    return re.sub(r"([\\`*_{}\[\]#])", r"\\\1", html.escape(words.replace(ANY, "…"), quote=False))
