"""Ranks that torchrun or Slurm start: one run folder, the results of one process, and an end together."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from distill.errors import ConfigError
from distill.reports.summary import load_summary
from distill.training import rendezvous
from tests.jobs.entry import ROOT, run_dirs, tiny_arguments
from tests.jobs.processes import run_all, torchrun

TWO = ["trainer=ddp_sim", "trainer.limit_train_batches=3", "data.loader.num_shards=2"]


def _arguments(root: Path, name: str) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("trainer=", "teacher."))]
    return ["+experiment=funnel/two_tower", *tiny, *TWO, f"name={name}"]


@pytest.mark.slow
def test_torchrun_makes_one_run_folder(tmp_path: Path) -> None:
    done = torchrun("train.py", *_arguments(tmp_path, "run"))
    assert done.status == 0, done.errors[-3000:]
    (folder,) = run_dirs(tmp_path, "run")
    assert load_summary(folder).steps == {"model": 3}
    assert done.output.count("parameters") == 1


@pytest.mark.slow
def test_an_error_on_one_rank_ends_torchrun(tmp_path: Path) -> None:
    script = tmp_path / "fail.py"
    script.write_text(
        "import os, runpy, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from distill.training.module import RankingModule\n"
        "step = RankingModule.training_step\n"
        "def fail(self, batch, index):\n"
        "    if os.environ['RANK'] == '1':\n"
        "        raise ValueError('rank 1 fails')\n"
        "    return step(self, batch, index)\n"
        "RankingModule.training_step = fail\n"
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
    )
    started = time.monotonic()
    done = torchrun(str(script), *_arguments(tmp_path, "fails"))
    assert done.status != 0
    assert "rank 1 fails" in done.errors
    assert time.monotonic() - started < 100


@pytest.mark.slow
def test_other_ranks_than_the_config_asks_for_are_refused(tmp_path: Path) -> None:
    done = torchrun("train.py", *_arguments(tmp_path, "wrong"), "trainer.devices=3")
    assert done.status != 0
    assert "asks for another number of ranks than were started" in done.errors
    assert "trainer.devices=2 trainer.num_nodes=1" in done.errors


@pytest.mark.slow
def test_ranks_of_srun_join(tmp_path: Path) -> None:
    command = [sys.executable, "train.py", *_arguments(tmp_path, "slurm")]
    port = _free_port()
    results = run_all([command, command], [_slurm(rank, port) for rank in range(2)])
    for result in results:
        assert result.status == 0, result.errors[-3000:]
    (folder,) = run_dirs(tmp_path, "slurm")
    assert load_summary(folder).steps == {"model": 3}


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _slurm(rank: int, port: str) -> dict[str, str]:
    """What srun tells a rank, and a port that is free here (Slurm's follows from the job's number)."""
    return {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "distill",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "MASTER_PORT": port,
    }


def test_slurm_variables_give_the_place_of_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "SLURM_JOB_ID": "123456",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_NODELIST": "node[03-04]",
        "SLURM_NODEID": "1",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
    }
    names = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    for name in names:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")  # so that what is set below is taken back
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert rendezvous.started_outside()
    assert [os.environ[name] for name in names] == ["3", "1", "1", "4", "2", "node03", "18456"]
    for name in names:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    with pytest.raises(ConfigError, match="the same number of ranks"):
        rendezvous.started_outside()
