import errno
from pathlib import Path

import pytest

from distill.errors import DataError
from distill.files import atomic_directory, hash_file, remove_leftovers, room_for, temporary_sibling, write_text_atomic


def test_directory_appears_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with atomic_directory(out) as beside:
        (beside / "a.txt").write_text("a")
        assert not out.exists()
    assert (out / "a.txt").read_text() == "a"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_directory_disappears_on_error(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_directory(tmp_path / "out") as beside:
            (beside / "a.txt").write_text("a")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_directory_may_replace_an_empty_one_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with atomic_directory(out) as beside:
        (beside / "a.txt").touch()
    with pytest.raises(DataError, match="nothing was overwritten"), atomic_directory(out):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="nothing was overwritten"), atomic_directory(tmp_path / "file"):
        pass


def test_directory_taken_meanwhile(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def fail() -> None:
        with atomic_directory(out):
            out.mkdir()
            (out / "other.txt").touch()

    with pytest.raises(DataError, match="nothing was overwritten"):
        fail()
    assert [path.name for path in out.iterdir()] == ["other.txt"]


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("old", "new"):
        write_text_atomic(path, text)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_one_path_only(tmp_path: Path) -> None:
    mine, other = temporary_sibling(tmp_path / "a"), temporary_sibling(tmp_path / "b")
    mine.mkdir()
    (mine / "x").touch()
    other.touch()
    remove_leftovers(tmp_path / "a")
    assert list(tmp_path.iterdir()) == [other]


def test_hash_is_of_the_content(tmp_path: Path) -> None:
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).write_text(text)
    assert hash_file(tmp_path / "a") == hash_file(tmp_path / "b") != hash_file(tmp_path / "c")
    assert len(hash_file(tmp_path / "a")) == 32


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError("put: No space left on device")])
def test_a_full_disk_is_told_whatever_library_met_it(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no room to write"), room_for(tmp_path / "x"):
        raise error


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), RuntimeError("else"), DataError("File too large?")])
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as raised, room_for(tmp_path / "x"):
        raise error
    assert raised.value is error
