"""The commands as functions: errors are raised, and whose program it is keeps its own Hydra, logging and arguments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import distill
from distill.errors import ConfigError, DataError
from distill.jobs import score as score_job
from distill.jobs import select_fields as select_job
from tests.jobs.entry import ROOT, path_arguments, run_dirs, tiny_arguments
from tests.patience import patience


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, distill; print([m for m in ('hydra', 'torch', 'numpy', 'pyarrow', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (["sed=1"], "sed"),
        (["data=parquet"], "data.source, data.schema"),
        (["seed=-1"], "seed"),
        (["metrics=["], "metrics=["),
        (["resume=/no/such/run"], "/no/such/run"),
    ],
)
def test_errors_of_the_command_are_raised_and_not_printed(
    overrides: list[str], where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        distill.train([*overrides, *path_arguments(tmp_path)])
    assert where in str(refused.value)
    assert refused.value.problem not in capsys.readouterr().err
    assert not GlobalHydra.instance().is_initialized()


def test_a_sweep_and_a_folder_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="from the command line"):
        distill.train(["hydra.mode=MULTIRUN", *path_arguments(tmp_path)])
    with pytest.raises(ConfigError, match="no such folder"):
        distill.prepare(["data=funnel_tiny"], config_dir=tmp_path / "none")
    with pytest.raises(DataError, match="no such folder"):
        distill.compare([tmp_path / "none"])


def test_a_program_that_uses_hydra_itself_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "own.yaml").write_text("value: 1\n")
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        dataset = distill.prepare(["data=funnel_tiny", *path_arguments(tmp_path)])
        assert compose("own").value == 1
    assert dataset.root.is_relative_to(tmp_path)


def test_functions_follow_one_another(tmp_path: Path) -> None:
    """A gated pre-ranker with an experiment file of the user's; its scores, and its fields within budgets."""
    own = tmp_path / "configs" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: cold\nname: mine\nmodel: {net: {embedding_dim: 4}}\n"
    )
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith("teacher.")]
    summary = distill.train([*tiny, "+experiment=mine"], config_dir=tmp_path / "configs")
    (folder,) = run_dirs(tmp_path, "mine")
    assert summary.name == "mine"
    command = json.loads((folder / "manifest.json").read_text())["command"]
    assert command[:3] == ["distill", "train", "data=funnel_tiny"]
    teacher = f"teacher.path={folder / 'checkpoints' / 'best.ckpt'}"
    scored = distill.score([teacher, "data=funnel_tiny", "trainer=cpu", *path_arguments(tmp_path)])
    assert isinstance(scored, score_job.Scored)
    assert scored.candidates == scored.scored_now > 0
    (found,) = distill.evaluate([f"path={folder}", "data=funnel_tiny", "trainer=cpu", *path_arguments(tmp_path)])
    assert found.metrics["mine"]["click/auc"] > 0
    assert found.split == "all"
    out = tmp_path / "configs" / "experiment" / "selected"
    budget = ["budget.metric=groups", "budget.limits=[2]", f"out={out}"]
    chosen = distill.select_fields([f"run={folder}", *budget, *path_arguments(tmp_path)])
    assert all(isinstance(choice, select_job.Choice) for choice in chosen)
    written = chosen[0].path.read_text()
    assert f"distill train --config-dir {tmp_path / 'configs'} " in written
    assert ROOT not in chosen[0].path.parents


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
import distill

def interrupt():
    while not list(Path("runs").rglob("best.ckpt")):
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    distill.train(sys.argv[1:])
except KeyboardInterrupt:
    print("caught", len(list(Path("runs").rglob("last.ckpt"))))
"""


@pytest.mark.slow
def test_an_interrupt_is_raised_after_the_checkpoint(tmp_path: Path) -> None:
    endless = ["data=funnel_tiny", "trainer=cpu", "trainer.max_epochs=100000", "callbacks.patience=null"]
    command = [sys.executable, "-c", INTERRUPTED, *endless, "callbacks.progress_bar=false", "trainer.max_steps=100000"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=patience(), check=False)
    assert done.stdout.strip() == "caught 1", done.stderr[-2000:]
    assert done.returncode == 0


@pytest.mark.slow
def test_ranks_of_a_program_run_the_command(tmp_path: Path) -> None:
    """They know nothing of the program: they are `python -m distill train`."""
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith(("teacher.", "trainer="))]
    few = [*tiny, "trainer=ddp_sim", "trainer.limit_train_batches=2", "threads=1"]
    code = f"import distill; print(distill.train({few!r}).steps)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "{'model': 2}" in done.stdout
