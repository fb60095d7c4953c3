"""Yandex's relevance prediction challenge (WSDM 2012): a log of searches and the clicks that follow them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from distill.data.datasets.archives.click_log import read_sessions
from distill.data.datasets.archives.source import Written
from distill.data.datasets.archives.tables import archive_file, write_blocks

_ARCHIVE = "the click log of Yandex's relevance prediction challenge, or of another in its format"


@dataclass(frozen=True)
class YandexClicks:
    """A log of sessions, tab-separated: `session time Q query region url url …` and `session time C url`.

    A row is a search with the URLs shown, from top to bottom, and whether each was clicked: a click counts for the last
    search of its session before it that shows the URL. Clicks on what no list of the session shows are left out.
    Searches and sessions are numbered as they come (`search`, `session`); the log has no other time than that within a
    session, of which no unit is known. Judgements of relevance are in a file of their own, which is not read.

    Attributes:
        log: Name of the file; the source may be the file itself.
    """

    log: str = "YandexRelPredChallenge.txt"

    name = "yandex_clicks"
    apart = ()

    def columns(self) -> Sequence[str]:
        """Of the searches, with lists of the URLs shown, their clicks and places."""
        of_search = ["search", "session", "session_id", "time_passed", "place", "query", "region"]
        return [*of_search, "url", "click", "position"]

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds the log; the folder may be the file itself."""
        return [folder if folder.is_file() else archive_file(folder, self.log, _ARCHIVE)]

    def write(self, folder: Path, directory: Path) -> Written:
        """Joins clicks to searches, some whole sessions at a time."""
        (path,) = self.files(folder)
        return Written((write_blocks(_numbered(path), directory / "train.parquet", path),))


def _numbered(path: Path) -> Iterator[pa.Table]:
    search = session = 0
    for sessions in read_sessions(path, _ARCHIVE):
        yield sessions.table(search, session)
        search, session = search + len(sessions.searches), session + int(sessions.number[-1]) + 1
