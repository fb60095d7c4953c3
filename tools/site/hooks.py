"""Hooks of MkDocs (mkdocs.yml): generated pages, and `data/README.md`, which lies outside of `docs/`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tools.site import configs, messages  # noqa: E402  # the root is not a package that MkDocs would know

DATA = "data.md"
GENERATED = {"reference/configs.md": configs.page, "reference/messages.md": messages.page}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not files of `docs/`."""
    for name, page in GENERATED.items():
        files.append(File.generated(config, name, content=page()))
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8").replace("](../docs/", "](")
    files.append(File.generated(config, DATA, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to `data/README.md` into links to its page."""
    return re.sub(r"\]\((?:\.\./)+data/README\.md", f"]({_up(page)}{DATA}", markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Takes the backslash from bars within code in tables: GitHub wants it, and Python's Markdown leaves it there."""
    return re.sub(r"<t[dh][ >].*?</t[dh]>", lambda cell: cell[0].replace("\\|", "|"), html, flags=re.DOTALL)


def _up(page: Page) -> str:
    return "../" * page.file.src_uri.count("/")
