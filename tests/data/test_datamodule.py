from __future__ import annotations

import threading
import warnings
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, OnExceptionCheckpoint

from distill.batch import Batch
from distill.data.datamodule import Loading, RankingDataModule
from distill.errors import ConfigError, SignalError
from tests.marks import some_fast

from .stream.builders import make_dataset, make_sidecar

EPOCHS = [10, 9, 10]  # steps; a longer epoch after a shorter one is the hard case of resuming
TOTAL = sum(EPOCHS)
TOTAL_CANDIDATES = 188  # of the 70 training requests
LIMITS = [{"max_epochs": 3}, {"max_steps": TOTAL, "max_epochs": None}]


class Recorder(LightningModule):
    """Remembers the rows it was trained on."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.rows: list[list[int]] = []
        self.fail_at = fail_at

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        if len(self.rows) == self.fail_at:
            raise RuntimeError("planned")
        self.rows.append(batch.row.tolist())
        return self.layer(torch.zeros(1, 1)).sum()

    def validation_step(self, batch: Batch, index: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class SaveAt(Callback):
    """Saves after a given step, before Lightning has counted it as completed."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    files = [rng.integers(0, 6, 40).tolist(), rng.integers(0, 6, 30).tolist()]
    folder = tmp_path_factory.mktemp("dataset")
    make_dataset(folder, {"train": files, "val": [[1, 2]], "test": [[3], [2, 0]]}, group_size=8)
    return folder


def module(root: Path, **changes: Any) -> RankingDataModule:
    settings: dict[str, Any] = {"batch_candidates": 12, "shuffle_buffer": 60, "num_shards": 2}
    loading = {f.name: changes.pop(f.name) for f in fields(Loading) if f.name in changes}
    return RankingDataModule(root, Loading(**{**settings, **loading}), **{"seed": 3, **changes})


def fit(
    root: Path,
    out: Path,
    *callbacks: Callback,
    resume: Path | None = None,
    fail_at: int | None = None,
    resident: Any = None,
    **limits: Any,
) -> list[list[int]]:
    recorder = Recorder(fail_at)
    defaults = {"accelerator": "cpu", "reload_dataloaders_every_n_epochs": 1, "num_sanity_val_steps": 0}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    keeps = any(isinstance(callback, Checkpoint) for callback in callbacks)
    trainer = Trainer(
        default_root_dir=out,
        callbacks=list(callbacks),
        enable_checkpointing=keeps,
        **{**defaults, **quiet, **limits},  # type: ignore[arg-type]
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not resumable.*")
        trainer.fit(recorder, datamodule=module(root, resident=resident), ckpt_path=resume, weights_only=True)
    return recorder.rows


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    return fit(root, tmp_path_factory.mktemp("whole"), max_epochs=3)


def test_an_epoch_is_every_row_once_and_epochs_differ(root: Path, whole: list[list[int]]) -> None:
    data = module(root)
    assert [data.steps_per_epoch(epoch) for epoch in range(3)] == EPOCHS
    assert len(whole) == TOTAL
    ends = np.cumsum([0, *EPOCHS])
    epochs = [[row for rows in whole[a:b] for row in rows if row >= 0] for a, b in pairwise(ends)]
    for rows in epochs:
        assert sorted(rows) == list(range(TOTAL_CANDIDATES))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("limits", LIMITS, ids=["epochs", "steps"])
@pytest.mark.parametrize("step", some_fast([1, 5, 10, 11, 19, 20], 3))
def test_resume_after_any_step(
    root: Path, tmp_path: Path, whole: list[list[int]], step: int, limits: dict[str, Any]
) -> None:
    path = tmp_path / "saved.ckpt"
    first = fit(root, tmp_path, SaveAt(step, path), max_steps=step)
    assert first + fit(root, tmp_path, resume=path, **limits) == whole


@pytest.mark.parametrize("resident", ["host", "device"])
def test_rows_in_memory_come_in_the_same_order_and_resume(
    root: Path, tmp_path: Path, whole: list[list[int]], resident: str
) -> None:
    path = tmp_path / "saved.ckpt"
    first = fit(root, tmp_path, SaveAt(13, path), resident=resident, max_steps=13, max_epochs=None)
    assert first == whole[:13]
    assert fit(root, tmp_path, resume=path, resident=resident, max_epochs=3) == whole[13:]
    assert fit(root, tmp_path, resume=path, max_epochs=3) == whole[13:]


@pytest.mark.parametrize(
    ("loading", "message"),
    [({"resident": "gpu"}, r"data\.loader\.resident"), ({"workers": 0}, r"data\.loader\.workers")],
)
def test_wrong_ways_to_read_are_refused(root: Path, loading: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        module(root, **loading)


@pytest.mark.parametrize("limits", LIMITS, ids=["epochs", "steps"])
@pytest.mark.parametrize("on_train_end", [True, False], ids=["train-end", "validation-end"])
def test_resume_after_an_epoch(
    root: Path, tmp_path: Path, whole: list[list[int]], on_train_end: bool, limits: dict[str, Any]
) -> None:
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, every_n_epochs=1, save_on_train_epoch_end=on_train_end)
    assert fit(root, tmp_path, saver, **limits) == whole
    left = [fit(root, tmp_path, resume=path, **limits) for path in sorted(tmp_path.glob("*.ckpt"))]
    assert left == [whole[10:], whole[19:], []]


def test_resume_after_a_validation_within_an_epoch(root: Path, tmp_path: Path, whole: list[list[int]]) -> None:
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", save_on_train_epoch_end=False)
    assert fit(root, tmp_path, saver, max_epochs=2, val_check_interval=4) == whole[:19]
    saved = sorted(tmp_path.glob("*.ckpt"))
    assert len(saved) == 4
    for path in saved:
        done = int(path.stem.removeprefix("step="))
        assert fit(root, tmp_path, resume=path, max_epochs=2, val_check_interval=4) == whole[done:19]


@pytest.mark.parametrize("step", [0, 6, 10])
def test_a_batch_that_failed_is_seen_again(root: Path, tmp_path: Path, whole: list[list[int]], step: int) -> None:
    saver = OnExceptionCheckpoint(tmp_path, "failed")
    with pytest.raises(RuntimeError, match="planned"):
        fit(root, tmp_path, saver, fail_at=step, max_epochs=3)
    assert fit(root, tmp_path, resume=tmp_path / "failed.ckpt", max_epochs=3) == whole[step:]
    assert not [thread for thread in threading.enumerate() if thread.name == "distill-prefetch"]


def test_a_finished_run_can_be_extended(root: Path, tmp_path: Path, whole: list[list[int]]) -> None:
    path = tmp_path / "end.ckpt"
    fit(root, tmp_path, SaveAt(19, path), max_epochs=2)
    assert fit(root, tmp_path, resume=path, max_epochs=3) == whole[19:]


def test_resume_in_the_middle_of_an_epoch_wants_the_same_order(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "saved.ckpt"
    fit(root, tmp_path, SaveAt(5, path), max_steps=5)
    state = torch.load(path, weights_only=True)
    state["RankingDataModule"]["order"]["num_shards"] = 4
    state["RankingDataModule"]["fingerprint"] = "other"
    torch.save(state, path)
    with pytest.raises(ConfigError, match=r"fingerprint=other, num_shards=4(.|\n)*num_shards=2"):
        fit(root, tmp_path, resume=path, max_epochs=1)


def test_overfitting_repeats_the_same_batches(root: Path, tmp_path: Path) -> None:
    rows = fit(root, tmp_path, max_epochs=3, overfit_batches=2)
    assert rows[:2] == rows[2:4] == rows[4:]


def test_trainer_that_would_repeat_the_first_epoch_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reload_dataloaders_every_n_epochs"):
        fit(root, tmp_path, max_epochs=2, reload_dataloaders_every_n_epochs=0)


@pytest.mark.parametrize("prefetch", [True, False])
def test_works_without_a_trainer(root: Path, prefetch: bool) -> None:
    data = module(root, prefetch=prefetch, num_shards=None, eval_batch_candidates=4)
    assert [batch.row.tolist() for batch in data.loader("test")] == [[0, 1, 2], [3, 4]]
    assert sum(batch.num_candidates for batch in data.train_dataloader()) == TOTAL_CANDIDATES
    assert sum(batch.num_candidates for batch in data.val_dataloader()) == 3
    assert len(list(data.test_dataloader())) == 2
    assert data.state_dict() == {}


def test_ranks_share_an_epoch(root: Path) -> None:
    data = module(root)
    both = [list(data.loader("train", True, 1, rank, 2)) for rank in range(2)]
    alone = list(data.loader("train", True, 1, 0, 1))
    assert [a.row.tolist() + b.row.tolist() for a, b in zip(*both, strict=True)] == [b.row.tolist() for b in alone]


def test_serving_view_and_signals(root: Path, tmp_path: Path) -> None:
    folder = make_sidecar(module(root).dataset, tmp_path / "signals", group_size=8)
    data = module(root, view="serving", signals={"train": str(folder), "val": "dataset"})
    assert not any(field.privileged for field in data.schema.fields)
    train, val = next(iter(data.loader("train"))), next(iter(data.loader("val")))
    assert train.signals is not None
    assert set(train.signals.hidden) == {"top"}
    assert val.signals is not None
    assert next(iter(data.loader("test"))).signals is None
    with pytest.raises(SignalError):
        module(root, signals={"train": str(tmp_path / "absent")}).loader("train")


@pytest.mark.parametrize(("change", "where"), [({"view": "all"}, "view"), ({"signals": {"tset": "x"}}, "signals")])
def test_unknown_choices_are_refused(root: Path, change: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match=rf"where: +{where}\n"):
        module(root, **change)


def test_waiting_adds_up_over_epochs(root: Path, tmp_path: Path) -> None:
    data = module(root)
    recorder = Recorder()
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        reload_dataloaders_every_n_epochs=1,
        limit_val_batches=0,
    )
    trainer.fit(recorder, datamodule=data)
    current = data.train_dataloader().loader.data_wait
    assert current == 0
    assert data.data_wait > 0


def test_threads_bound_the_workers_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.data.datamodule.own_cores", lambda: 64)
    before = torch.get_num_threads()
    try:
        for threads, workers in ((1, 1), (3, 3), (32, 8)):
            torch.set_num_threads(threads)
            assert Loading(batch_candidates=8).threads == workers
            assert Loading(batch_candidates=8, workers=5).threads == 5
        monkeypatch.setattr("distill.data.datamodule.own_cores", lambda: 4)
        assert Loading(batch_candidates=8).threads == 2
    finally:
        torch.set_num_threads(before)
