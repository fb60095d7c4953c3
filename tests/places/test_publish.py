"""A folder is published whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.errors import DataError
from distill.places import publish as module
from distill.places.fetch import fetch_folder, published
from distill.places.manifest import MANIFEST, STARTED
from distill.places.mirror import local_of
from distill.places.publish import publish
from distill.places.staged import begin_new, pull, push
from distill.places.uri import place_of
from tests.places.store import Store

OUT = place_of("s3://bucket/out", "out")


def _made(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_the_manifest_is_last_and_nothing_else_is_left(store: Store, tmp_path: Path) -> None:
    folder = _made(tmp_path / "made", a=b"1", b=b"22")
    _made(folder, **{".a.writing-0123": b"half"})
    publish(folder, OUT)
    assert store.names("bucket/out") == [MANIFEST, "a", "b"]
    assert published(OUT).keys() == {"a", "b"}  # type: ignore[union-attr]


@pytest.mark.parametrize("failures", [1, 2])
def test_drops_are_not_seen_in_the_result(store: Store, tmp_path: Path, failures: int) -> None:
    for name in ("get_file_info", "open_output_stream", "delete_file", "open_input_file"):
        store.failures[name] = failures
    publish(_made(tmp_path / "made", a=b"1", b=b"22"), OUT)
    assert {name: fetch_folder(OUT).joinpath(name).read_bytes() for name in "ab"} == {"a": b"1", "b": b"22"}


def test_a_publication_that_fails_is_not_there_and_can_be_made_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _made(tmp_path / "made", a=b"1", b=b"22", c=b"3")
    real = module.upload

    def fails(path: Path, place: object) -> object:
        if str(place).endswith("/b"):
            store.failures["open_output_stream"] = 9
        return real(path, place)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "upload", fails)
    with pytest.raises(DataError, match="cannot be written") as raised:
        publish(folder, OUT)
    assert str(raised.value.where).startswith("s3://bucket/out/")
    assert published(OUT) is None
    with pytest.raises(DataError, match="Nothing is published"):
        fetch_folder(OUT)
    monkeypatch.setattr(module, "upload", real)
    store.failures.clear()
    publish(folder, OUT)
    assert store.names("bucket/out") == [MANIFEST, "a", "b", "c"]


def test_what_is_there_is_not_overwritten(store: Store, tmp_path: Path) -> None:
    publish(_made(tmp_path / "made", a=b"1"), OUT)
    with pytest.raises(DataError, match="already"):
        publish(_made(tmp_path / "other", a=b"2"), OUT)
    store.write("bucket/logs/x")
    for replaces in (False, True):
        with pytest.raises(DataError, match="already"):
            publish(tmp_path / "made", place_of("s3://bucket/logs", "out"), replaces)
    assert store.names("bucket/logs") == ["x"]


def test_a_second_publication_sends_what_changed(store: Store, tmp_path: Path) -> None:
    folder = _made(tmp_path / "made", a=b"1", b=b"2", c=b"3")
    publish(folder, OUT)
    sent = store.calls["open_output_stream"]
    publish(folder, OUT, replaces=True)
    assert store.calls["open_output_stream"] == sent  # it is there
    _made(folder, b=b"9").joinpath("c").unlink()
    publish(folder, OUT, replaces=True)
    assert store.calls["open_output_stream"] == sent + 3  # the mark, b, the manifest
    assert store.names("bucket/out") == [MANIFEST, "a", "b"]
    assert (fetch_folder(OUT) / "b").read_bytes() == b"9"


def test_of_two_that_publish_at_once_one_ends_with_an_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = _made(tmp_path / "mine", a=b"1"), _made(tmp_path / "other", a=b"2", b=b"3")
    real = module._check

    def after_the_other(*arguments: object) -> None:
        monkeypatch.setattr(module, "_check", real)
        publish(other, OUT)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_check", after_the_other)
    with pytest.raises(DataError, match="Another command publishes"):
        publish(mine, OUT)
    assert (fetch_folder(OUT) / "a").read_bytes() == b"2"


def test_a_staged_folder_goes_out_and_comes_in(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = local_of(OUT)
    begin_new(folder)
    push(_made(folder, a=b"1"), replaces=False)
    with pytest.raises(DataError, match="already"):
        begin_new(folder)
    monkeypatch.setenv("DISTILL_LOCAL", str(tmp_path / "another machine"))
    pull(local_of(OUT))
    assert (local_of(OUT) / "a").read_bytes() == b"1"
    for of_this_machine in (begin_new, pull, push):
        of_this_machine(tmp_path / "nothing")  # type: ignore[operator]
    assert not (tmp_path / "nothing").exists()


def test_what_an_interrupted_command_staged_is_begun_anew(store: Store) -> None:
    store.write(f"bucket/out/{STARTED}", b"{}")
    store.write("bucket/out/half")
    _made(local_of(OUT), half=b"1")
    begin_new(local_of(OUT))
    assert not local_of(OUT).exists()
    push(_made(local_of(OUT), a=b"1"), replaces=False)
    assert store.names("bucket/out") == [MANIFEST, "a"]
