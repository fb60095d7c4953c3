"""A browser opens the page: it draws in light and in dark, and complains of nothing. Without one it is skipped."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from matplotlib import image

from distill.reports.compare import compare
from distill.reports.page.page import Source, page_text
from tests.reports.page.pages import evidence, run_with

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCHEMES = {"dark": 0, "light": 1}  # Blink's preferredColorScheme
DISTILLED = {"dark": (0x6F, 0xA8, 0xEC), "light": (0x25, 0x63, 0xAB)}
TEACHER = {"dark": (0xA3, 0xAD, 0xB8), "light": (0x6B, 0x72, 0x80)}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")]


def browse(folder: Path, scheme: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    run = run_with("/runs/one")
    page = folder / "report.html"
    page.write_text(
        page_text(Source("one", compare([run]), {"/runs/one": evidence()}, ["train <x>"])), encoding="utf-8"
    )
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    own = [f"--user-data-dir={folder / scheme}", f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}"]
    command = [str(BROWSER), *options, *own, *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_is_drawn_in_the_readers_colours(scheme: str, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    found = browse(tmp_path, scheme, "--window-size=1200,3600", f"--screenshot={picture}")
    assert "CONSOLE" not in found.stderr
    pixels = (image.imread(picture)[..., :3] * 255).round().astype(int)
    assert pixels.shape[:2] == (3600, 1200)
    assert tuple(pixels[2, 2]) == ((0x14, 0x18, 0x1D) if scheme == "dark" else (255, 255, 255))
    for colour in (DISTILLED[scheme], TEACHER[scheme]):  # lines, points and names in legends
        assert ((abs(pixels - colour) <= 2).all(-1)).sum() > 1000


def test_the_document_is_the_one_that_was_written(tmp_path: Path) -> None:
    document = browse(tmp_path, "light", "--dump-dom").stdout
    assert document.count("<svg") == 9
    assert "train &lt;x&gt;" in document
