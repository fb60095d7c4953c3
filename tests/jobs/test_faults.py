"""What the outside can do to a run: full disks, damaged files, other runs at the same time."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from distill.reports.summary import load_summary
from tests.jobs.entry import run_dirs, run_script, tiny_arguments, train
from tests.jobs.processes import run_all


@pytest.mark.slow
def test_two_runs_at_once_share_one_cache(tmp_path: Path) -> None:
    command = [sys.executable, "train.py", "+experiment=quickstart", *tiny_arguments(tmp_path)]
    for done in run_all([[*command, "name=a"], [*command, "name=b"]]):
        assert done.status == 0, done.errors[-2000:]
    summaries = [load_summary(run_dirs(tmp_path, name)[0]) for name in ("a", "b")]
    assert sorted(summary.cached.count("teacher") for summary in summaries) == [0, 1]
    assert sorted(summary.cached.count("control") for summary in summaries) == [0, 1]
    assert repr(summaries[0].metrics) == repr(summaries[1].metrics)


def _prepared(root: Path) -> Path:
    run_script("scripts/prepare.py", "data=funnel_tiny", *(f"paths.{k}={root / k}" for k in ("data", "cache", "runs")))
    (folder,) = (path for path in (root / "data").iterdir() if path.is_dir())
    return folder


@pytest.mark.slow
def test_a_truncated_part_file_is_named_and_the_run_works_once_it_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _prepared(tmp_path)
    part = sorted((folder / "train").glob("*.parquet"))[-1]
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    alone = [a for a in tiny_arguments(tmp_path) if not a.startswith(("teacher.", "data="))]
    arguments = [*alone, "data=prepared", f"data.root={folder}", "name=truncated"]
    with pytest.raises(SystemExit):
        train(*arguments)
    message = capsys.readouterr().err
    assert part.name in message
    assert "Traceback" not in message
    part.write_bytes(whole)
    train(*arguments)
    assert load_summary(run_dirs(tmp_path, "truncated")[-1]).steps["model"] > 0


def _limited(kilobytes: int, *command: str) -> list[str]:
    """A command that may write no file beyond a size, as on a full disk."""
    return ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash", sys.executable, *command]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("kilobytes", [8, 60])
def test_a_full_disk_ends_prepare_with_the_file_and_leaves_nothing(tmp_path: Path, kilobytes: int) -> None:
    paths = [f"paths.{kind}={tmp_path / kind}" for kind in ("data", "cache", "runs")]
    command = ["scripts/prepare.py", "data=funnel_tiny", *paths]
    (full,) = run_all([_limited(kilobytes, *command)])
    assert full.status == 2, full.errors[-2000:]
    assert "Traceback" not in full.errors
    assert "no room" in full.errors
    assert str(tmp_path / "data") in full.errors
    left = [path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []
    (again,) = run_all([[sys.executable, *command]])
    assert again.status == 0, again.errors[-2000:]
