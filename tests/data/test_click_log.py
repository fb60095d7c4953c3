"""Clicks of search sessions: for which list shown they count, and that a session is never cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from distill.data.datasets.archives import tables
from distill.data.datasets.archives.click_log import read_sessions
from distill.errors import DataError

LINES = [
    "7 0 C 11",  # before anything is shown
    "7 1 Q 100 2 11 12 13 12",
    "7 2 C 12",  # shown twice: the upper one
    "7 3 C 99",  # not shown
    "7 4 Q 101 2 12 14",
    "7 5 C 12",  # of the second list
    "7 6 C 11",  # of the first list, which is still the last with it
    "7 7 C 11",
    "8 0 C 14",  # shown in another session
    "8 1 Q 100 3 14",
]


def _write(path: Path, lines: list[str], end: str = "\n") -> Path:
    path.write_bytes("".join(line.replace(" ", "\t") + end for line in lines).encode())
    return path


def _rows(path: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for sessions in read_sessions(path, "a log"):
        last = int(found[-1]["session"]) + 1 if found else 0  # type: ignore[call-overload]
        found += sessions.table(len(found), last).to_pylist()
    return found


@pytest.mark.parametrize("end", ["\n", "\r\n", "\t\n"])
def test_a_click_counts_for_the_last_list_that_shows_it(end: str, tmp_path: Path) -> None:
    rows = _rows(_write(tmp_path / "log.txt", LINES, end))
    assert [(row["url"], row["click"]) for row in rows] == [
        ([11, 12, 13, 12], [1, 1, 0, 0]),
        ([12, 14], [1, 0]),
        ([14], [0]),
    ]
    assert list(rows[1].values()) == [1, 0, 7, 4, 1, 101, 2, [12, 14], [1, 0], [0, 1]]


def test_blocks_end_between_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, lines = np.random.default_rng(0), []
    for session in range(60):
        for i in range(int(rng.integers(1, 9))):
            lines.append(f"{session} {i} Q {i} 0 " + " ".join(map(str, rng.permutation(12)[:5])))
            lines += [f"{session} {i} C {rng.integers(0, 12)}" for _ in range(int(rng.integers(0, 3)))]
    path = _write(tmp_path / "log.txt", lines)
    whole = _rows(path)
    assert sum(sum(row["click"]) for row in whole) > 50  # type: ignore[call-overload]
    monkeypatch.setattr(tables, "_BLOCK_BYTES", 600)
    assert sum(1 for _ in read_sessions(path, "a log")) > 5
    assert _rows(path) == whole


@pytest.mark.parametrize("line", ["7 1 Q 100 2", "7 1 C", "7 1 X 4", "7 1 C 4 5", "7 1 C 1" + 18 * "0", "a 1 C 4"])
def test_another_line_is_named(line: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "log.txt", [*LINES, line])
    with pytest.raises(DataError, match="neither a search nor a click") as caught:
        _rows(path)
    assert repr(line.replace(" ", "\t")) in str(caught.value.found)


def test_a_log_without_searches_has_no_rows(tmp_path: Path) -> None:
    (sessions,) = read_sessions(_write(tmp_path / "log.txt", LINES[:1]), "a log")
    table = sessions.table(0, 0)
    assert table.num_rows == 0
    assert table.schema.field("url").type == pa.large_list(pa.int64())
