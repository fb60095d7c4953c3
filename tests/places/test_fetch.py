"""Fetched files are those of the store, or the error says what is wrong."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

from distill.errors import DataError
from distill.places.fetch import fetch_file, fetch_folder, fetch_matches
from distill.places.manifest import MANIFEST
from distill.places.opened import opened, size_of
from distill.places.publish import publish
from distill.places.uri import Place, place_of
from tests.places.store import Store

LOGS = place_of("s3://bucket/logs", "source")
OUT = place_of("s3://bucket/out", "out")


def _published(store: Store, tmp_path: Path, files: dict[str, bytes]) -> Path:
    folder = tmp_path / "made"
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    publish(folder, OUT, replaces=True)
    return folder


def _below(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_file_comes_once_and_again_when_it_changed(store: Store) -> None:
    store.write("bucket/logs/a", b"one")
    path = fetch_file(LOGS / "a")
    assert path is not None
    assert path.read_bytes() == b"one"
    fetch_file(LOGS / "a")
    assert store.calls["open_input_file"] == 1
    store.write("bucket/logs/a", b"two")
    os.utime(store.root / "bucket/logs/a", ns=(0, 10**18))
    assert fetch_file(LOGS / "a").read_bytes() == b"two"  # type: ignore[union-attr]
    assert fetch_file(LOGS / "b") is None


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["day=1/a", "day=1/sub/b", "day=2/a", "other"]),
        ("day=*", ["day=1/a", "day=1/sub/b", "day=2/a"]),
        ("day=*/a", ["day=1/a", "day=2/a"]),
        ("day=[1]/*", ["day=1/a", "day=1/sub/b"]),
        ("**/b", ["day=1/sub/b"]),
        ("other", ["other"]),
        ("nothing", []),
    ],
)
def test_a_source_is_what_glob_finds_in_a_folder(store: Store, pattern: str, expected: list[str]) -> None:
    for name in ("day=1/a", "day=1/sub/b", "day=2/a", "other"):
        store.write(f"bucket/logs/{name}", name.encode())
    found = fetch_matches(LOGS / pattern)
    root = Path(str(found)[: len(str(found)) - len(pattern)].rstrip("/"))
    assert sorted(_below(root)) == expected
    local = {Path(top) for top in glob.glob(str(store.root / "bucket/logs" / pattern), recursive=True)}  # noqa: PTH207
    files = {f for top in local for f in ([top] if top.is_file() else top.rglob("*")) if f.is_file()}
    assert sorted(f.relative_to(store.root / "bucket/logs").as_posix() for f in files) == expected


def test_what_is_gone_from_the_store_is_forgotten(store: Store) -> None:
    for name in ("a", "b"):
        store.write(f"bucket/logs/{name}")
    assert sorted(_below(fetch_matches(LOGS))) == ["a", "b"]
    (store.root / "bucket/logs/a").unlink()
    assert sorted(_below(fetch_matches(LOGS))) == ["b"]


def test_a_download_goes_on_where_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 40
    store.write("bucket/logs/a", data)
    monkeypatch.setattr("distill.places.remote._BLOCK", 1000)
    store.most_read = 2500  # far more drops than attempts, with progress between them
    path = fetch_file(LOGS / "a")
    assert path is not None
    assert path.read_bytes() == data
    assert store.calls["open_input_file"] == 5


def test_a_file_that_never_comes_is_an_error_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    store.write("bucket/logs/a", b"12345")
    store.most_read = 0
    with pytest.raises(DataError, match="3 attempts") as raised:
        fetch_file(LOGS / "a")
    assert raised.value.where == "s3://bucket/logs/a"
    assert "dropped" in str(raised.value.found)
    assert not [p for tree in ("raw", ".incoming") for p in (tmp_path / "local" / tree).rglob("*") if p.is_file()]


def test_what_no_second_try_makes_right_is_not_tried_again(store: Store) -> None:
    store.write("bucket/logs/a")
    store.failures["get_file_info"], store.error = 9, "AWS Error ACCESS_DENIED during HeadObject operation: no"
    with pytest.raises(DataError, match="1 attempt"):
        fetch_file(LOGS / "a")
    assert store.calls["get_file_info"] == 1


def test_a_folder_without_a_manifest_is_not_there(store: Store) -> None:
    store.write("bucket/out/train/part.parquet")
    with pytest.raises(DataError, match="Nothing is published"):
        fetch_folder(OUT)


def test_a_published_folder_comes_back_and_only_changes_come_again(store: Store, tmp_path: Path) -> None:
    made = _published(store, tmp_path, {"a": b"1", "b/c": b"2"})
    folder = fetch_folder(OUT)
    assert _below(folder) == _below(made)
    reads = store.calls["open_input_file"]
    fetch_folder(OUT)
    assert store.calls["open_input_file"] == reads + 1  # the manifest
    (made / "b/c").unlink()
    _published(store, tmp_path, {"a": b"1", "d": b"3"})
    assert _below(fetch_folder(OUT)) == {"a": b"1", "d": b"3"}


def test_bytes_that_were_not_published_are_refused(store: Store, tmp_path: Path) -> None:
    _published(store, tmp_path, {"a": b"1234"})
    store.write("bucket/out/a", b"1243")
    with pytest.raises(DataError, match="differs from the published one"):
        fetch_folder(OUT)
    store.write(f"bucket/out/{MANIFEST}", (store.root / f"bucket/out/{MANIFEST}").read_bytes().replace(b"4", b"5"))
    with pytest.raises(DataError, match="damaged"):
        fetch_folder(OUT)


def test_files_that_may_come_later_come_when_they_are_opened(store: Store, tmp_path: Path) -> None:
    _published(store, tmp_path, {"a": b"1", "part": b"12345"})
    folder = fetch_folder(OUT, later=lambda name: name == "part")
    assert sorted(_below(folder)) == ["a"]
    assert (size_of(folder / "part"), size_of(folder / "none")) == (5, None)
    for _ in range(2):
        with opened(folder / "part") as file:
            assert file.read() == b"12345"
        (folder / "part").unlink()  # let go
    with pytest.raises(FileNotFoundError):
        opened(folder / "none")


def test_names_of_a_manifest_stay_below_it(store: Store, tmp_path: Path) -> None:
    from distill.places.manifest import Entry, write_manifest

    write_manifest(tmp_path / "m", {"../x": Entry(1, "00")})
    store.write(f"bucket/out/{MANIFEST}", (tmp_path / "m").read_bytes())
    with pytest.raises(DataError, match="damaged"):
        fetch_folder(Place("s3", "bucket", "out"))
