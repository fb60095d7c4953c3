"""Sweeps through submitit: one task for each rank, one folder for each job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from distill.jobs.app import register_resolvers
from distill.reports.summary import load_summary
from tests.jobs.entry import ROOT, tiny_arguments
from tests.jobs.processes import run_python


def _sweep(root: Path, tasks: int) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("trainer=", "teacher."))]
    launcher = [
        "hydra/launcher=submitit_local",
        f"hydra.launcher.tasks_per_node={tasks}",
        "hydra.launcher.timeout_min=5",
    ]
    few = ["trainer=ddp_sim", "trainer.limit_train_batches=2", "logger=none", "seed=0,1"]
    return ["train.py", "-m", "+experiment=funnel/two_tower", *tiny, *few, *launcher]


@pytest.mark.slow
def test_a_sweep_of_two_ranks_each(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    done = run_python(*_sweep(tmp_path, 2))
    assert done.status == 0, done.errors[-3000:]
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    assert [load_summary(sweep / job).seed for job in ("0", "1")] == [0, 1]
    assert len(json.loads((sweep / "comparison.json").read_text())) == 1


@pytest.mark.slow
def test_ranks_that_were_not_started_are_an_error(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    done = run_python(*_sweep(tmp_path, 1))
    assert done.status != 0
    logs = "".join(path.read_text() for path in tmp_path.rglob("*.err"))
    assert "must be started by torchrun, srun or submitit" in logs + done.errors


def test_the_slurm_launcher_asks_for_a_task_for_each_device() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    register_resolvers()
    launch = ["hydra/launcher=distill_slurm", "hydra.launcher.partition=gpu"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        launcher = compose(
            "config", [*launch, "trainer=multi_node", "trainer.devices=4"], return_hydra_config=True
        ).hydra.launcher
        assert launcher._target_.endswith("SlurmLauncher")
        found = (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node, launcher.partition)
    assert found == (2, 4, 4, "gpu")
