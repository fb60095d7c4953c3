"""Ranks that are started on Ray train what torchrun's train, bit for bit, and end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill.errors import ConfigError
from distill.jobs.launch import run_as_rank
from distill.jobs.launch_options import OF_RANKS, arguments
from distill.reports.summary import load_summary
from tests.jobs.entry import run_dirs, tiny_arguments
from tests.jobs.processes import Done, run_python, torchrun
from tests.jobs.run_state import checkpoint_state, difference, history, summary_state
from tests.patience import patience
from tests.processes import kill_group, started

TWO = ["trainer=ddp_sim", "trainer.max_epochs=2", "threads=1", "callbacks.checkpoint_every_n_steps=3"]
ON_RAY = ["--nproc-per-node", "2", "train"]


def _arguments(root: Path, name: str) -> list[str]:
    left_out = ("trainer=", "trainer.max_epochs=", "teacher.")
    tiny = [a for a in tiny_arguments(root) if not a.startswith(left_out)]
    return ["+experiment=funnel/two_tower", *tiny, *TWO, f"name={name}"]


def test_options() -> None:
    found = arguments(["--nnodes", "2", "--nproc-per-node=8", "--gpus", "1", "--address", "auto", "train", "-m", "a=1"])
    assert (found.nnodes, found.nproc_per_node, found.cpus, found.gpus) == (2, 8, 1, 1)
    assert (found.address, found.command, found.arguments) == ("auto", "train", ["-m", "a=1"])


@pytest.mark.parametrize(
    "given",
    [["prepare"], ["--nnodes", "2", "train"], ["--nproc-per-node", "0", "train"], ["--gpus", "-1", "train"], []],
)
def test_options_that_cannot_be(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(given)
    assert "error:" in capsys.readouterr().err


def test_a_rank_raises_what_the_command_would_have_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = list(sys.argv)
    with pytest.raises(ConfigError, match="seed"):
        run_as_rank(("train", ["seed=none", f"paths.runs={tmp_path}"]))
    assert sys.argv == before
    assert "seed" not in capsys.readouterr().err
    assert "train" in OF_RANKS


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run named `torchrun` is, and others will be."""
    pytest.importorskip("ray")
    root = tmp_path_factory.mktemp("launch")
    done = torchrun("train.py", *_arguments(root, "torchrun"))
    assert done.status == 0, done.errors[-3000:]
    return root


def _on_ray(*given: str) -> Done:
    return run_python("scripts/launch.py", *ON_RAY, *given)


def _assert_same(root: Path, name: str, wanted: str = "torchrun") -> None:
    (one,), (other,) = run_dirs(root, wanted), run_dirs(root, name)
    assert difference(checkpoint_state(one), checkpoint_state(other)) is None
    assert difference(history(one, "student"), history(other, "student")) is None
    assert difference(summary_state(one), summary_state(other)) is None
    assert load_summary(other).metrics["model"]["click/auc"] > 0


@pytest.mark.slow
def test_ranks_on_ray_train_what_those_of_torchrun_train(root: Path) -> None:
    done = _on_ray(*_arguments(root, "ray"))
    assert done.status == 0, done.output[-2000:] + done.errors[-3000:]
    assert done.output.count("parameters") == 1  # the table, which rank 0 prints at the end
    _assert_same(root, "ray")


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_job_which_goes_on_from_its_checkpoint(root: Path) -> None:
    with started("scripts/launch.py", *ON_RAY, *_arguments(root, "killed")) as process:
        _wait_for_checkpoint(root / "runs" / "killed", process)
        (rank,) = _below(process.pid, b"ray::rank 1")
        os.kill(rank, signal.SIGKILL)
        output, _ = process.communicate(timeout=patience())
    assert process.returncode == 2, output
    assert "The worker of rank 1 died" in output
    assert "Traceback" not in output
    (folder,) = run_dirs(root, "killed")
    assert not (folder / "summary.json").exists()
    done = _on_ray(*_arguments(root, "killed"), "resume=last")
    assert done.status == 0, done.output[-2000:] + done.errors[-3000:]
    _assert_same(root, "killed")


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_all_ranks_with_a_checkpoint(root: Path, sent: signal.Signals) -> None:
    """Ctrl-C goes to all processes of the terminal, SIGTERM to the one that was started."""
    name, longer = sent.name.lower(), ["trainer.max_epochs=60", "callbacks.patience=null"]
    arguments = [*_arguments(root, name), *longer]
    with started("scripts/launch.py", *ON_RAY, *arguments) as process:
        _wait_for_checkpoint(root / "runs" / name, process)
        if sent is signal.SIGINT:
            os.killpg(process.pid, sent)
        else:
            process.send_signal(sent)
        output, _ = process.communicate(timeout=patience())
    assert process.returncode not in (0, 2), output[-3000:]
    assert "Traceback" not in output, output[-3000:]
    assert "resume=last" in output, output[-3000:]
    (folder,) = run_dirs(root, name)
    assert not (folder / "summary.json").exists()
    done = _on_ray(*arguments, "resume=last")
    assert done.status == 0, done.output[-2000:] + done.errors[-3000:]
    whole = torchrun("train.py", *_arguments(root, f"{name}-whole"), *longer)
    assert whole.status == 0, whole.errors[-3000:]
    _assert_same(root, name, f"{name}-whole")


def _wait_for_checkpoint(runs: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + patience()
    while not list(runs.glob("*/checkpoints/last.ckpt")):
        if time.monotonic() > deadline or process.poll() is not None:
            kill_group(process)
            raise AssertionError("there is no checkpoint")
        time.sleep(0.02)


def _below(ancestor: int, title: bytes) -> Iterator[int]:
    """The processes below another one whose command line begins with a title."""
    parents, titles = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            titles[int(stat.parent.name)] = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    for pid, name in titles.items():
        above = pid
        while above in parents and above != ancestor:
            above = parents[above]
        if above == ancestor and name.startswith(title):
            yield pid
