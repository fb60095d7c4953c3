"""Gives Lightning the batches of a prepared dataset, and keeps the place in the data across restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info

from distill.batch import Batch
from distill.checks import require_integer
from distill.data.dataset import load_dataset
from distill.data.format import SPLITS, Dataset, Split
from distill.data.packed import PackedBatch
from distill.data.stream import (
    BatchLoader,
    EpochPlan,
    PlacedBatch,
    ResidentReader,
    SplitReader,
    StreamOrder,
    plan_epoch,
)
from distill.data.transfer import BatchTransfer
from distill.errors import ConfigError
from distill.ops.cores import own_cores
from distill.ops.ranks import rank, world_size
from distill.schema import Schema

View = Literal["full", "serving"]
Resident = Literal["host", "device"]

_MOST_WORKERS = 8

_KEYS = {"fingerprint": "data", "seed": "seed"}  # of what an epoch's order depends on, where not data.loader.*


@dataclass(frozen=True)
class Loading:
    """Sizes of batches, and how they are read: `data.loader` of a config.

    Attributes:
        batch_candidates: Most candidates in a shard's training batch; a longer request is a batch alone.
        eval_batch_candidates: The same in evaluation; as in training if not given.
        shuffle_buffer: Least candidates within which requests are shuffled; bounds memory.
        num_shards: Batches that make up a global step; the number of processes if not given.
        prefetch: Whether to read on background threads.
        workers: How many of them; half of the cores that a process has, at most 8 and torch's threads, if not given.
            Batches and their order are the same for any number.
        resident: What stays in memory once it was read: `host`, the rows of training and validation; `device`, those
            of training where the model is, and those of validation on the host; nothing if not given. Batches and
            their order are the same.
    """

    batch_candidates: int
    eval_batch_candidates: int | None = None
    shuffle_buffer: int = 262144
    num_shards: int | None = None
    prefetch: bool = True
    workers: int | None = None
    resident: Resident | None = None

    @property
    def threads(self) -> int:
        """Threads that read."""
        if self.workers is not None:
            return self.workers
        return max(1, min(_MOST_WORKERS, own_cores() // 2, torch.get_num_threads()))

    def batch_of(self, split: Split) -> int:
        """Returns the most candidates in a batch of a split."""
        in_evaluation = self.eval_batch_candidates
        return self.batch_candidates if split == "train" or in_evaluation is None else in_evaluation


class RankingDataModule(LightningDataModule):
    """Batches of a prepared dataset; works with and without a trainer.

    The trainer must be told `reload_dataloaders_every_n_epochs=1`: each epoch has its own plan and may differ a
    little in steps. A checkpoint holds the epoch and the number of its batches that were trained on, so that a resumed
    run sees exactly the batches that remain.

    Args:
        root: Folder of the prepared dataset.
        loading: Sizes of batches, and how they are read.
        seed: Of the shuffling.
        view: `full`, or `serving` to leave privileged fields on disk.
        signals: Split to `dataset` (its teacher columns) or to a folder of aligned signal files.
        hidden: Names of the hidden vectors of the signals that training reads, while evaluation reads none; in every
            split all there are if not given.
    """

    def __init__(
        self,
        root: str | Path,
        loading: Loading,
        seed: int = 0,
        view: View = "full",
        signals: Mapping[str, str | None] | None = None,
        hidden: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        _check_choice("view", [view], get_args(View))
        _check_choice("data.loader.prefetch", [str(loading.prefetch)], ("True", "False"))
        if loading.resident is not None:
            _check_choice("data.loader.resident", [loading.resident], get_args(Resident))
        if loading.workers is not None:
            require_integer("data.loader.workers", loading.workers, least=1)
        _check_choice("signals", list(signals or {}), SPLITS)
        self._root = Path(root)
        self._loading = loading
        self._seed = seed
        self._view = view
        self._signals = dict(signals or {})
        self._hidden = hidden
        self._readers: dict[Split, SplitReader] = {}
        self._held: dict[Split, ResidentReader] = {}
        self._plans: dict[Split, EpochPlan] = {}
        self._training: TrainingLoader | None = None
        self._restored: dict[str, Any] | None = None
        self._resumed_at_end = False
        self._waited = 0.0
        self._transfer = BatchTransfer()

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset on disk, opened when first asked for."""
        return load_dataset(self._root)

    @cached_property
    def schema(self) -> Schema:
        """Fields that the batches hold: all, or the serving view."""
        return self.dataset.schema if self._view == "full" else self.dataset.schema.serving_view()

    @property
    def data_wait(self) -> float:
        """Seconds that training has waited for batches so far."""
        return self._waited + (self._training.loader.data_wait if self._training is not None else 0.0)

    def loader(
        self,
        split: Split,
        shuffle: bool = False,
        epoch: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        held: bool = False,
    ) -> BatchLoader:
        """Returns the batches of a split.

        Args:
            split: Which split; the training split has training's batch size.
            shuffle: Whether to shuffle, else every row comes once in file order within its shard.
            epoch: Changes the shuffling.
            rank: This process; that of the trainer or process group if not given.
            world_size: Number of processes; that of the trainer or process group if not given.
            held: Whether the rows stay in memory as `data.loader.resident` says; those of training may then be gathered
                where the model is, when they are sent there.

        Raises:
            DataError: The files are not what the format says.
            SignalError: The signals are not there or do not belong to the dataset.
            ConfigError: There are fewer shards than processes.
        """
        here = self._place()
        rank = here[0] if rank is None else rank
        world_size = here[1] if world_size is None else world_size
        plan = self._plan(split, shuffle, epoch, world_size)
        reader = self._resident(split) if held and self._loading.resident is not None else self._reader(split)
        return BatchLoader(reader, plan, rank, world_size, self._loading.prefetch, self._loading.threads)

    def train_dataloader(self) -> TrainingLoader:
        """Returns the shuffled batches of the trainer's epoch, from the restored position on."""
        trainer = self.trainer
        if trainer is None:
            return TrainingLoader(self.loader("train", shuffle=True, held=True), None)
        _check_reload(trainer)
        overfit = _setting(trainer, "overfit_batches") > 0
        epoch = 0 if overfit else trainer.current_epoch
        loader = self.loader("train", shuffle=not overfit, epoch=epoch, held=True)
        if self._resumed_at_end:
            # Lightning takes the batches of the finished epoch for those of a longer next one, and skips as many.
            done = trainer.fit_loop.epoch_loop.batch_progress.current
            done.completed = max(done.completed, len(loader))
        self._resumed_at_end = self._restore(loader)
        self._waited = self.data_wait
        loader.work = partial(self._work, trainer)
        self._training = TrainingLoader(loader, trainer)
        return self._training

    def val_dataloader(self) -> BatchLoader:
        """Returns the validation batches, every row once."""
        return self.loader("val", held=True)

    def test_dataloader(self) -> BatchLoader:
        """Returns the test batches, every row once."""
        return self.loader("test")

    def steps_per_epoch(self, epoch: int = 0) -> int:
        """Counts the training steps of an epoch on every rank; epochs of ragged requests differ a little."""
        return self._plan("train", True, epoch, self._place()[1]).num_steps

    def state_dict(self) -> dict[str, Any]:
        """Returns the place in the data: batches trained on, and what fixes which batches they are."""
        if self._training is None:
            return {}
        plan = self._training.loader.plan
        return {**self._training.state_dict(), **self._identity(plan)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps a place for the next training loader; evaluation ignores it."""
        trainer = self.trainer
        if trainer is None or trainer.state.fn == TrainerFn.FITTING:
            self._restored = dict(state_dict)

    def transfer_batch_to_device(
        self, batch: Batch | PlacedBatch | PackedBatch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Copies a batch to the device without waiting for the copy; see `BatchTransfer`."""
        return self._transfer(batch, device)

    def _work(self, trainer: Trainer, start: int) -> Callable[[Batch | PlacedBatch, int], Any] | None:
        """Returns what a module does to a batch ahead of its step, by its place in the epoch; a batch whose step comes
        with others' is left to the step.

        Args:
            trainer: Of the module.
            start: Place of the batch of the trainer's next step.
        """
        module = trainer.lightning_module
        ready, packs = getattr(module, "ready_on_host", None), getattr(module, "packs_ahead", False)
        if ready is None or _setting(trainer, "accumulate_grad_batches") != 1:
            return None
        before, device = trainer.global_step - start, trainer.strategy.root_device

        def made(batch: Batch | PlacedBatch, place: int) -> Any:
            found = ready(batch, before + place)
            is_final = packs and isinstance(found, Batch) and found.is_ready
            return self._transfer.packed(found, device) if is_final else found

        return made

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        if trainer is not None:
            return trainer.global_rank, trainer.world_size
        return rank(), world_size()

    def _reader(self, split: Split) -> SplitReader:
        if split not in self._readers:
            hidden = () if self._hidden is not None and split != "train" else self._hidden
            reader = SplitReader.open(self.dataset, self.schema, split, self._signals.get(split), hidden)
            if reader.index.num_empty_requests:
                count = reader.index.num_empty_requests
                rank_zero_info(f"{count} requests of the {split} split have no candidate and are in no batch.")
            self._readers[split] = reader
        return self._readers[split]

    def _resident(self, split: Split) -> ResidentReader:
        if split not in self._held:
            on_device = self._loading.resident == "device" and split == "train"
            held = ResidentReader.of(self._reader(split), on_device)
            rank_zero_info(f"The {split} split stays in memory: {held.held.block.num_bytes / 2**20:,.0f} MiB.")
            self._held[split] = held
        return self._held[split]

    def _plan(self, split: Split, shuffle: bool, epoch: int, world_size: int) -> EpochPlan:
        order = StreamOrder(
            self._loading.batch_of(split),
            self._loading.shuffle_buffer,
            world_size if self._loading.num_shards is None else self._loading.num_shards,
            self._seed,
            shuffle,
        )
        plan = self._plans.get(split)
        if plan is None or (plan.order, plan.epoch) != (order, epoch):
            plan = self._plans[split] = plan_epoch(self._reader(split).index, order, epoch)
        return plan

    def _restore(self, loader: BatchLoader) -> bool:
        """Moves a loader to the restored position, once; tells whether that is the end of its epoch."""
        restored, self._restored = self._restored, None
        if restored is None or restored["epoch"] != loader.plan.epoch or restored["step"] == 0:
            return False
        self._check_restored(restored, loader.plan)
        loader.position = restored["step"]
        return loader.position == len(loader)

    def _identity(self, plan: EpochPlan) -> dict[str, Any]:
        return {"fingerprint": self.dataset.fingerprint, "order": asdict(plan.order)}

    def _check_restored(self, restored: dict[str, Any], plan: EpochPlan) -> None:
        """The middle of an epoch is the same place only in the same data, read in the same order."""
        now, then = _flat(self._identity(plan)), _flat(restored)
        changed = [name for name in now if now[name] != then.get(name)]
        if changed:
            raise ConfigError(
                "The checkpoint is from the middle of an epoch that was read with other settings.",
                where=", ".join(_KEYS.get(name, f"data.loader.{name}") for name in changed),
                expected=", ".join(f"{name}={then.get(name)}" for name in changed),
                found=", ".join(f"{name}={now[name]}" for name in changed),
                remedy="Resume with the expected values, or from a checkpoint at the end of an epoch.",
            )


class TrainingLoader:
    """A training loader whose state counts the batches trained on, not those that were only handed out."""

    def __init__(self, loader: BatchLoader, trainer: Trainer | None) -> None:
        self.loader = loader
        self._trainer = trainer

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.loader)

    def state_dict(self) -> dict[str, Any]:
        """Returns epoch and step; a batch that failed half-way through its step is not counted."""
        step = self.loader.position
        if self._trainer is not None:
            done = self._trainer.fit_loop.epoch_loop.batch_progress.current
            step = min(step, _setting(done, "processed"))
        return {"epoch": self.loader.plan.epoch, "step": step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Moves to a saved position of the same epoch."""
        if state_dict["epoch"] == self.loader.plan.epoch:
            self.loader.position = state_dict["step"]


def _check_choice(where: str, found: list[str], known: tuple[str, ...]) -> None:
    unknown = [name for name in found if name not in known]
    if unknown:
        raise ConfigError("Unknown value.", where=where, expected=" | ".join(known), found=unknown[0])


def _check_reload(trainer: Trainer) -> None:
    every = _setting(trainer, "reload_dataloaders_every_n_epochs")
    if every != 1 and trainer.max_epochs != 1:
        raise ConfigError(
            "Every epoch would repeat the order of the first.",
            where="reload_dataloaders_every_n_epochs",
            expected="1",
            found=str(every),
        )


def _setting(owner: object, name: str) -> Any:
    """Reads an attribute that Lightning sets without declaring it."""
    return getattr(owner, name)


def _flat(state: dict[str, Any]) -> dict[str, Any]:
    return {"fingerprint": state.get("fingerprint"), **state.get("order", {})}
