"""Training on several machines, played by processes of this one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from distill.training.checkpoint_io import read_checkpoint
from tests.jobs.entry import run_dirs, tiny_arguments
from tests.jobs.processes import run_python
from tests.patience import patience

SAID = "Touched rows are exchanged between the ranks of each node first."


def _trained(root: Path, name: str, nodes: int, ranks: int) -> tuple[Path, str]:
    """Trains in ranks of several nodes; returns the run and what its first rank said."""
    folder = root / f"ranks_of_{name}"
    folder.mkdir()
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("trainer=", "teacher."))]
    steps = ["trainer.limit_train_batches=4", "data.loader.num_shards=4", "scheduler=constant"]
    own = ["trainer=ddp_sim", f"trainer.num_nodes={nodes}", f"trainer.devices={ranks}", f"name={name}"]
    task = {
        "arguments": ["+experiment=funnel/two_tower", *tiny, *steps, *own],
        "modules": ["distill.jobs.train"],
        "runs": 1,
        "nodes": nodes,
        "ranks": ranks,
        "seconds": 0.4 * patience(),
        "folder": str(folder),
    }
    done = run_python("-m", "tests.jobs.forked_ranks", json.dumps(task))
    assert done.status == 0, done.errors[-3000:]
    found = json.loads((folder / "runs.jsonl").read_text(encoding="utf-8"))
    said = (folder / "0_0.log").read_text(errors="replace")
    assert found["status"] == [0] * nodes * ranks, said[-3000:]
    return run_dirs(root, name)[0], said


@pytest.mark.slow
def test_two_machines_of_two_ranks_train_as_one_of_four(tmp_path: Path) -> None:
    one, said_by_one = _trained(tmp_path, "one", 1, 4)
    two, said_by_two = _trained(tmp_path, "two", 2, 2)
    assert SAID not in said_by_one
    assert SAID in said_by_two
    first, second = (read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in (one, two))
    assert first.keys() == second.keys()
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=1e-4, atol=1e-4, msg=name)
