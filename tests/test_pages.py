"""The README is short, links outside of the site lead somewhere, generated pages hold what they are made of."""

from __future__ import annotations

import re
from pathlib import Path

import markdown
import pytest

from tools.error_texts import ROOT, messages
from tools.site import configs, hooks
from tools.site import messages as messages_page

LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_read_in_a_few_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name: str) -> None:
    """Pages that are not of the site, whose build looks at its own."""
    wrong, links = [], LINK.findall((ROOT / name).read_text(encoding="utf-8"))
    for target, anchor in links:
        if target.startswith("http"):
            continue
        page = ROOT / target
        if not page.is_file() or (anchor and anchor not in _anchors(page)):
            wrong.append(f"{target}#{anchor}")
    assert links
    assert not wrong


def test_the_page_of_config_groups_names_every_option() -> None:
    page = configs.page()
    for group in ("loss_term", "model", "trainer", "split"):
        assert f"## `{group}`" in page
        for path in (ROOT / "conf" / group).glob("*.yaml"):
            assert f'"`{path.stem}`' in page
    assert "Draws a linear image of the student's hidden vector to the teacher's (arXiv:1412.6550)." in page


def test_a_search_for_an_error_finds_what_to_do() -> None:
    page = messages_page.page()
    told = [m for m in messages() if m.arguments["problem"] and m.arguments["problem"][0].strip("\0 .")]
    assert len(told) > 500
    for message in told:
        pieces = (piece for words in message.arguments["problem"] for piece in words.split("\0"))
        plain = [piece.strip() for piece in pieces if re.fullmatch(r"[\w ,.]{12,}", piece.strip())]
        assert all(piece in page for piece in plain), message.place


def test_the_page_of_errors_shows_their_text_as_it_is() -> None:
    shown = markdown.markdown(messages_page.page(), extensions=["tables"])
    assert "1 &lt;= shown &lt;= ranked &lt;= each of ks" in shown
    assert shown.count("<h4>") > 500  # a section each, which the search finds
    assert "\\" not in shown.replace("\\n", "")


def test_bars_in_code_of_tables_have_no_backslash() -> None:
    text = "| a | b |\n|---|---|\n| `\\|x\\|` | c |\n\n`a\\|b`"
    shown = hooks.on_page_content(markdown.markdown(text, extensions=["tables"]), *[None] * 3)  # type: ignore[arg-type]
    assert "<code>|x|</code>" in shown
    assert "<code>a\\|b</code>" in shown  # outside of tables it is what was written


def test_the_site_fetches_nothing() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "polyfills: [iframe-worker.js]" in config  # without it the theme takes its own from the network
    assert (ROOT / "docs" / "iframe-worker.js").is_file()
    assert "https:" not in (ROOT / "docs" / "iframe-worker.js").read_text(encoding="utf-8")
