"""Logs of search sessions: lines of searches and of the clicks that follow, some whole sessions at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.data.datasets.archives.tables import lists_of, text_blocks
from distill.encodings.arrow import combine
from distill.errors import DataError

_ONE_CELL = "\x01"  # stands in no line, so that each is a cell
_NUMBER = "[0-9]{1,18}"
_LINE = f"^{_NUMBER}\t{_NUMBER}\t(Q\t{_NUMBER}\t{_NUMBER}(\t{_NUMBER})+|C\t{_NUMBER})$"
_EXPECTED = "session, time, Q, query, region and URLs, or session, time, C and a URL: whole numbers with tabs between"
_BEFORE_URLS = 5


@dataclass(frozen=True)
class Sessions:
    """The lines of some whole sessions: searches, with the URLs shown, and clicks.

    Attributes:
        cells: The numbers of all lines, one line after the other; in the place of Q is 1, in that of C is 0.
        counts: `[L]`, how many of them each line has.
    """

    cells: np.ndarray
    counts: np.ndarray

    @cached_property
    def starts(self) -> np.ndarray:
        """`[L]`, where the cells of each line begin."""
        starts: np.ndarray = self.counts.cumsum(dtype=np.int64) - self.counts
        return starts

    @cached_property
    def number(self) -> np.ndarray:
        """`[L]`, the number of each line's session among these, from 0."""
        ids = self.cells[self.starts]
        return np.concatenate([[0], np.cumsum(ids[1:] != ids[:-1])])

    @cached_property
    def searches(self) -> np.ndarray:
        """`[S]`, which lines are searches."""
        return np.flatnonzero(self.cells[self.starts + 2])

    def table(self, first_search: int, first_session: int) -> pa.Table:
        """Returns a row for each search, with lists of its URLs, their clicks and their places from 0.

        Args:
            first_search: Number of the first search.
            first_session: Number of the first session.
        """
        line, position, url = self._shown()
        lengths = pa.array(self.counts[self.searches] - _BEFORE_URLS)
        session, start = self.number[self.searches], self.starts[self.searches]
        order = np.arange(len(session))
        columns = {
            "search": first_search + order,
            "session": first_session + session,
            "session_id": self.cells[start],
            "time_passed": self.cells[start + 1],
            "place": order - np.searchsorted(session, session),
            "query": self.cells[start + 3],
            "region": self.cells[start + 4],
        }
        clicked = self._clicked(line, position, url).astype(np.int8)
        lists = {"url": url, "click": clicked, "position": position}
        return pa.table({**columns, **{name: lists_of(pa.array(values), lengths) for name, values in lists.items()}})

    def _shown(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns of each URL shown its line, its place in the list and itself, `[N]` each."""
        line = np.repeat(np.arange(len(self.counts)), self.counts)
        place = np.arange(len(self.cells)) - self.starts[line] - _BEFORE_URLS
        is_shown = place >= 0  # a click has fewer cells
        return line[is_shown], place[is_shown], self.cells[is_shown]

    def _clicked(self, line: np.ndarray, position: np.ndarray, url: np.ndarray) -> np.ndarray:
        """Returns `[N]`, whether a click of the session came on it: after it, and before the URL was shown again."""
        clicks = np.flatnonzero(self.cells[self.starts + 2] == 0)
        at = np.concatenate([line, clicks])
        urls = np.concatenate([url, self.cells[self.starts[clicks] + 3]])
        places = np.concatenate([position, np.zeros_like(clicks)])
        order = np.lexsort((-places, at, urls, self.number[at]))  # of a URL twice in a list the upper one is last
        is_shown = order < len(line)
        before = np.maximum.accumulate(np.where(is_shown, np.arange(len(order)), 0))
        of, click = order[before[~is_shown]], order[~is_shown]
        same = (of < len(line)) & (urls[of] == urls[click]) & (self.number[at[of]] == self.number[at[click]])
        clicked = np.zeros(len(line), bool)
        clicked[of[same]] = True
        return clicked


def read_sessions(path: Path, archive: str) -> Iterator[Sessions]:
    """Reads a log block by block, and cuts between sessions only: lines with one id that follow each other.

    Args:
        path: The log, perhaps compressed with gzip.
        archive: Of which archive it is, for errors.

    Raises:
        DataError: A line is neither a search nor a click.
    """
    rest = pa.array([], pa.string())
    for block in text_blocks(path, {"line": pa.string()}, archive, delimiter=_ONE_CELL, header=["line"]):
        lines = pa.concat_arrays([rest, pc.utf8_rtrim_whitespace(combine(block["line"]))])
        found = _parsed(lines, path)
        last = int(np.searchsorted(found.number, found.number[-1]))
        rest = lines.slice(last)
        if last:
            yield Sessions(found.cells[: found.starts[last]], found.counts[:last])
    if len(rest):
        yield _parsed(rest, path)


def _parsed(lines: pa.Array, path: Path) -> Sessions:
    fits = pc.fill_null(pc.match_substring_regex(lines, _LINE), False)
    if not pc.all(fits).as_py():
        found = lines.filter(pc.invert(fits))[0].as_py()
        raise DataError(
            "A line of the log is neither a search nor a click.",
            where=str(path),
            expected=_EXPECTED,
            found=repr(found)[:200],
        )
    numbered = pc.replace_substring(pc.replace_substring(lines, "\tQ\t", "\t1\t"), "\tC\t", "\t0\t")
    cells = pc.split_pattern(numbered, "\t")
    counts = pc.list_value_length(cells).to_numpy().astype(np.int64)
    return Sessions(cells.flatten().cast(pa.int64()).to_numpy(), counts)
