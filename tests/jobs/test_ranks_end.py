"""Whatever ends one of two ranks ends the other within seconds, with one clear line and no process left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.entry import path_arguments
from tests.processes import finished


def arguments(root: Path) -> list[str]:
    short = ["+experiment=funnel/two_tower", "data=funnel_tiny", "trainer=ddp_sim", "trainer.max_epochs=200"]
    quiet = ["callbacks.progress_bar=false", "callbacks.patience=null", "threads=1"]
    return [*short, *quiet, *path_arguments(root), "name=run"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


def ends(root: Path, what: str, rank: int) -> str:
    """Returns the output of a run in which something happens to a rank; `finished` limits its time."""
    status, output = finished("tests/jobs/killer.py", what, "student", "3", str(rank), *arguments(root))
    assert status != 0
    return output


@pytest.mark.slow
@pytest.mark.parametrize("what", ["start", "kill"])
def test_rank_one_is_killed(root: Path, what: str) -> None:
    output = ends(root, what, 1)
    assert output.count("Rank 1 was killed by SIGKILL") == 1
    assert "resume=last" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_rank_zero_is_killed(root: Path) -> None:
    output = ends(root, "kill", 0)
    assert output.count("Rank 0 is gone") == 1
    assert "Traceback" not in output


@pytest.mark.slow
def test_an_error_of_one_rank_is_shown_once_and_ends_the_other(root: Path) -> None:
    output = ends(root, "error", 1)
    assert output.count("ValueError: an error of this rank alone") == 1
    assert "Rank 1 ended with an error" in output
    assert "Connection closed" not in output
