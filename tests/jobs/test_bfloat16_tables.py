"""Runs whose embedding tables are stored in bfloat16: what they write, and that all else takes it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose
from omegaconf import DictConfig

from distill.errors import ConfigError
from distill.jobs.beforehand import check_config
from distill.jobs.parts import load_model
from distill.reports.summary import load_summary
from distill.serving import Bundle
from distill.training.checkpoint_io import read_checkpoint
from distill.training.module import RankingModule
from tests.jobs.entry import run_dirs, run_script, tiny_arguments, train
from tests.jobs.processes import run_python
from tests.jobs.run_state import checkpoint_state, difference, summary_state
from tests.models.composing import composing

STORED = "embedding.dtype=bfloat16"
_QUIET = ["control.enabled=false", "trainer.max_epochs=2", "callbacks.checkpoint_every_n_steps=3"]


def _arguments(root: Path, name: str, *more: str) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("trainer.max_epochs", "data."))]
    return ["+experiment=quickstart", *_QUIET, *tiny, STORED, f"name={name}", *more]


def _config(*overrides: str) -> DictConfig:
    with composing():
        return compose("config", ["data=funnel_tiny", *overrides])


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (["embedding=sharded"], "embedding.dtype"),
        (["embedding.sharding=planned"], "embedding.dtype"),
        (["trainer.precision=64-true"], "trainer.precision"),
        (["trainer.precision=bf16-true"], "trainer.precision"),
        (["embedding.dtype=float16"], "embedding.dtype"),
    ],
)
def test_what_tables_in_bfloat16_do_not_go_with_is_refused(overrides: list[str], where: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_config(_config(STORED, *overrides), None)
    assert where in str(raised.value.where)
    assert raised.value.expected


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "auto"])
def test_what_they_go_with_is_not(precision: str) -> None:
    check_config(_config(STORED, f"trainer.precision={precision}", "optimizer=adamw_sparse_adam"), None)


def _tables(state: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if "tables.weights." in name}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bfloat16")
    train(*_arguments(root, "whole", "export=true"))
    return root


@pytest.mark.slow
def test_a_run_is_stored_in_bfloat16_and_served_in_float32(root: Path) -> None:
    (folder,) = run_dirs(root, "whole")
    checkpoint = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    stored = _tables(checkpoint["state_dict"])
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    sums = [state["sum"].dtype for state in checkpoint["optimizer_states"][0]["tables"]["state"].values()]
    assert set(sums) == {torch.float32}
    loaded = _tables(load_model(folder / "checkpoints" / "best.ckpt").model.state_dict())
    for name, value in loaded.items():
        assert value.dtype is torch.float32
        assert torch.equal(value, stored[f"model.{name}"].float())
    Bundle.load(folder / "bundle")  # which proves it on golden requests
    paths = [a for a in tiny_arguments(root) if a.startswith("paths.")]
    run_script("scripts/evaluate.py", "data=funnel_tiny", "trainer=cpu", f"path={folder}", *paths)
    evaluated = max((root / "runs" / "evaluate").iterdir()) / "evaluation.json"
    (found,) = json.loads(evaluated.read_text())
    (metrics,) = found["metrics"].values()
    assert 0.5 < metrics["click/auc"] < 1  # of all rows of the data, with tables in float32


@pytest.mark.slow
def test_an_interrupted_run_ends_as_it_would_have(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = RankingModule.training_step

    def stop(self: RankingModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(RankingModule, "training_step", stop)
        with pytest.raises(SystemExit):
            train(*_arguments(root, "stopped", "export=true"))
    train(*_arguments(root, "stopped", "export=true"), "resume=last")
    (whole,), (stopped,) = run_dirs(root, "whole"), run_dirs(root, "stopped")
    assert difference(checkpoint_state(whole), checkpoint_state(stopped)) is None
    assert difference(summary_state(whole), summary_state(stopped)) is None


@pytest.mark.slow
def test_a_run_does_not_go_on_in_another_type(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(*_arguments(root, "whole", "export=true"), "embedding.dtype=float32", "resume=last")
    assert "embedding.dtype=bfloat16" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_a_warm_start_takes_rows_from_either_type(root: Path) -> None:
    best = run_dirs(root, "whole")[0] / "checkpoints" / "best.ckpt"
    for name, dtype in (("as_stored", "bfloat16"), ("wider", "float32")):
        begin = [f"model.init_from={best}", "model.init_optimizer=true", f"embedding.dtype={dtype}"]
        train(*_arguments(root, name, *begin, "optimizer.embedding_lr=1e-12", "trainer.max_epochs=1"))
        found = _tables(read_checkpoint(run_dirs(root, name)[0] / "checkpoints" / "last.ckpt")["state_dict"])
        for key, value in _tables(read_checkpoint(best)["state_dict"]).items():
            torch.testing.assert_close(found[key].float(), value.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_teacher_that_learns_beside_shares_them(root: Path) -> None:
    together = ["data=funnel_tiny", "teacher=cotrained", "loss=pfd", "teacher.own_embeddings=[user_id]"]
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("teacher.", "data="))]
    train(*together, *tiny, STORED, "metrics=funnel", "control.enabled=false", "name=cotrained")
    (folder,) = run_dirs(root, "cotrained")
    state = read_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"]
    assert {value.dtype for value in _tables(state).values()} == {torch.bfloat16}
    assert len(_tables(state)) > 1
    load_model(folder / "checkpoints" / "best.ckpt")


@pytest.mark.slow
def test_two_processes_learn_what_one_does(root: Path) -> None:
    shards = ["data.loader.num_shards=2", "trainer.max_epochs=1", "callbacks.weight_average=0.9"]
    for name, trainer in (("one", "cpu"), ("two", "ddp_sim")):
        kept = [a for a in _arguments(root, name) if not a.startswith(("trainer=", "trainer.max"))]
        done = run_python("train.py", *kept, *shards, f"trainer={trainer}")
        assert done.status == 0, done.errors[-3000:]
    one, two = (load_summary(run_dirs(root, name)[0]).metrics["distilled"] for name in ("one", "two"))
    assert two["click/auc"] == pytest.approx(one["click/auc"], abs=0.02)
