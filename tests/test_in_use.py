"""A folder that a process reads says so until that process ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distill.in_use import InUseError, mark_of, run_named, runs_of, unused, use, user_of

_READ = """
import sys, time
from pathlib import Path
from distill.in_use import use
use(Path(sys.argv[1]), Path(sys.argv[2]))
print("reads", flush=True)
sys.stdin.read()
"""


def kept(folder: Path) -> tuple[Path, Path]:
    """A folder with the lock file of who wrote it."""
    path, lock = folder / "shop", folder / ".shop.lock"
    path.mkdir()
    lock.write_text("process 1 on here\n")
    return path, lock


def test_a_process_that_reads_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    path, lock = kept(tmp_path)
    command = [sys.executable, "-c", _READ, str(path), str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reads\n"
        assert f"process {process.pid} on" in str(user_of(path, lock))
        process.kill()
        process.wait()
    assert user_of(path, lock) is None
    assert lock.read_text() == "process 1 on here\n"  # looking leaves the name of the last holder


def test_runs_leave_their_names_once(tmp_path: Path) -> None:
    path, lock = kept(tmp_path)
    for run in ("a", "b", "a"):
        with run_named(Path("runs") / run):
            use(path, lock)
    assert runs_of(path) == ["runs/a", "runs/b"]


def test_a_folder_of_a_users_own_gets_no_mark(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    use(tmp_path / "mine", tmp_path / ".mine.lock")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_deleted_mark_is_made_again(tmp_path: Path) -> None:
    path, lock = kept(tmp_path)
    use(path, lock)
    mark_of(path).unlink()
    use(path, lock)
    with pytest.raises(InUseError, match="reads it"), unused(path, lock):
        pass
