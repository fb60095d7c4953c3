"""The local cache keeps to its limit, and to what processes hold."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill.errors import ConfigError, DataError
from distill.places.fetch import fetch_file, fetch_folder
from distill.places.mirror import local_of
from distill.places.opened import opened
from distill.places.publish import publish
from distill.places.room import hold, limit_bytes, make_room
from distill.places.uri import place_of
from tests.places.store import Store

OUT = place_of("s3://bucket/out", "out")


def _raw(name: str, size: int, used: int) -> Path:
    path = local_of(place_of(f"s3://bucket/{name}", "source"), "raw")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (used, 0))
    return path


def test_the_longest_unused_go_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOCAL_BYTES", "1000")
    old, new, newest = _raw("b", 400, 1), _raw("a", 400, 2), _raw("c", 100, 3)
    make_room(200, "x")
    assert [path.exists() for path in (old, new, newest)] == [False, True, True]
    make_room(500, "x")
    assert [path.exists() for path in (new, newest)] == [True, True]
    with pytest.raises(DataError, match="do not fit") as raised:
        make_room(1001, "s3://bucket/x")
    assert raised.value.where == "s3://bucket/x"


def test_what_is_held_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOCAL_BYTES", "1000")
    held, other = _raw("held/a", 600, 1), _raw("b", 300, 2)
    hold(held.parent)
    make_room(400, "x")
    assert [path.exists() for path in (held, other)] == [True, False]
    with pytest.raises(DataError, match="600 that are in use"):
        make_room(401, "x")


HOLDER = """
import sys
from pathlib import Path
from distill.places.room import hold
hold(Path(sys.argv[1])); print("held", flush=True); sys.stdin.read()
"""


def test_another_process_holds_until_it_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOCAL_BYTES", "1000")
    held = _raw("a", 600, 1)
    command = [sys.executable, "-c", HOLDER, str(held)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(DataError):
            make_room(500, "x")
        process.kill()
    make_room(500, "x")
    assert not held.exists()


def test_staged_files_are_never_let_go_and_published_ones_come_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made").mkdir()
    for name in ("a", "b"):
        (tmp_path / "made" / name).write_bytes(name.encode() * 400)
    publish(tmp_path / "made", OUT)
    staged = local_of(place_of("s3://bucket/staged", "out")) / "x"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(bytes(5000))
    monkeypatch.setenv("DISTILL_LOCAL_BYTES", "500")  # one of the two
    folder = fetch_folder(OUT, later=lambda _: True)
    for name in ("a", "b", "a"):
        with opened(folder / name) as file:
            assert file.read() == name.encode() * 400
    assert not (folder / "b").exists()
    assert staged.exists()


def test_a_limit_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOCAL_BYTES", "10 GB")
    with pytest.raises(ConfigError, match="DISTILL_LOCAL_BYTES"):
        limit_bytes()


def _fetch(name: str) -> tuple[bytes, int]:
    path = fetch_file(place_of(f"s3://bucket/{name}", "source"))
    assert path is not None
    return path.read_bytes(), path.stat().st_ino  # another one if it were fetched anew


def test_many_processes_fetch_the_same_file_once(store: Store) -> None:
    store.write("bucket/a", b"x" * 100_000)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        ((data, _),) = set(pool.map(_fetch, ["a"] * 16))
    assert data == b"x" * 100_000
