"""Evaluation, scoring and prediction bring nothing from a device batch by batch: what they wait for does not grow with
the number of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from distill.batch import Batch, TeacherSignals
from distill.jobs import scored, scorer
from distill.jobs.parts import LoadedModel
from distill.jobs.scorer import Scorer
from distill.jobs.unit_scorer import UnitScorer
from distill.losses import CompositeLoss
from distill.losses.setting import LossSetting
from distill.losses.terms import BernoulliKL, HardBCE
from distill.ops.waiting import as_on_a_device
from distill.signals import SignalSource
from distill.signals.checkpoint import CheckpointSignals
from distill.signals.column import ColumnSignals
from distill.signals.provenance import HiddenVectors
from distill.training.callbacks import FitProgress
from distill.training.cotraining import CotrainedTeacher
from distill.training.module import RankingModule
from tests.models.composing import build
from tests.no_sync import waits
from tests.training.stepping import SCHEMA, TASKS, VIEW, batch_of, module_of

_TRANSFORMER = "sequence@model.net.sequence=transformer"


def online() -> SignalSource:
    return CheckpointSignals(build("dcn_v2", VIEW, _TRANSFORMER))


def cotrained() -> SignalSource:
    loss = CompositeLoss({"hard": HardBCE()})
    loss.setup(LossSetting(TASKS, has_signals=True))
    return CotrainedTeacher(build("dcn_v2", VIEW, _TRANSFORMER), loss, {})


class Batches:
    """Batches of an evaluation."""

    def __init__(self, count: int, serving: bool = True) -> None:
        self.made = [batch_of(serving, seed) for seed in range(count)]

    def __len__(self) -> int:
        return len(self.made)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.made)


def of_device(found: list[str]) -> list[str]:
    """What would wait for a device: lengths of sequences are measured before a batch is sent there."""
    return [place for place in found if not place.endswith(" measured")]


class Watch(pl.Callback):
    """Watches the batches of an evaluation; the first and the last of the callbacks share one."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.batches = 0
        self._stack = ExitStack()

    def on_validation_batch_start(self, *_: Any, **__: Any) -> None:
        self._stack.enter_context(as_on_a_device())
        self._places = self._stack.enter_context(waits())

    def end(self) -> None:
        self.batches += 1
        self._stack.close()
        self.found += self._places


class End(pl.Callback):
    """The last of the callbacks."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        self.watch.end()


@pytest.mark.parametrize("signals", [ColumnSignals, online, cotrained])
def test_validation_waits_for_no_batch(signals: Callable[[], SignalSource]) -> None:
    module = module_of("two_tower", {"hard": HardBCE(), "soft": BernoulliKL()}, signals=signals())
    watch = Watch()
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[watch, FitProgress("student"), End(watch)],
    )
    trainer.validate(module, Batches(4), verbose=False)
    assert watch.batches == 4
    assert watch.found == []


def test_what_validation_brings_to_the_host_does_not_grow() -> None:
    def brought(batches: int) -> int:
        module: RankingModule = module_of("two_tower", signals=online())
        ready = [batch.measured() for batch in Batches(batches)]
        with torch.no_grad(), waits() as found:
            for batch in ready:
                module.validation_step(batch, 0)
            assert found == []
            module._rows.gather()
        return len(found)

    assert brought(2) == brought(7) > 0


def test_what_score_brings_to_the_host_does_not_grow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    teacher = LoadedModel(build("dcn_v2", SCHEMA, _TRANSFORMER).eval(), SCHEMA, "")

    def brought(batches: int) -> list[str]:
        made = Batches(batches, serving=False)
        monkeypatch.setattr(scorer, "iterate_part", lambda *_: iter(made))
        job = Scorer(teacher, SimpleNamespace(schema=SCHEMA), torch.device("cpu"), HiddenVectors(("body",)))  # type: ignore[arg-type]
        with waits() as found:
            columns = job.part("val", 0, tmp_path)
        assert {len(values) for values in columns.values()} == {batches * batch_of(False).num_candidates}
        return of_device(found)

    assert len(brought(2)) == len(brought(6)) > 0


def test_what_evaluate_brings_to_the_host_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("two_tower", VIEW).eval()

    def brought(batches: int) -> int:
        made = [batch.measured() for batch in Batches(batches)]
        monkeypatch.setattr(scored, "batches_of", lambda *_: iter(made))
        with waits() as found:
            scored._table(
                SimpleNamespace(teacher_path=None),  # type: ignore[arg-type]
                SimpleNamespace(schema=VIEW),  # type: ignore[arg-type]
                VIEW,
                lambda batch: model(batch).logits.float(),
            )
        return len(found)

    assert brought(2) == brought(6) > 0


def test_prediction_waits_once_for_a_chunk() -> None:
    model = build("two_tower", VIEW).eval()
    loaded: Any = SimpleNamespace(loaded=SimpleNamespace(schema=VIEW))
    nothing: Any = None
    job = UnitScorer(loaded, nothing, nothing, nothing, 8, torch.device("cpu"))
    for count in (1, 5):
        made = list(Batches(count))
        with waits() as found:
            logits, score = job._scored(model, made)
        assert [place.split(" at ")[0] for place in of_device(found)] == ["cpu"]
        assert logits.shape[0] == score.shape[0] == count * batch_of(True).num_candidates


class Asks(SignalSource):
    """A teacher that waits for the device at each batch."""

    def forward(self, batch: Batch) -> TeacherSignals:
        valid: Tensor = torch.ones_like(batch.weight, dtype=torch.bool)
        assert bool(valid.any())
        return TeacherSignals(torch.zeros_like(batch.labels), valid, {})


def test_the_test_sees_a_wait() -> None:
    module, batch = module_of("two_tower", signals=Asks()), batch_of(True)
    with torch.no_grad(), waits() as found:
        module.validation_step(batch, 0)
    assert len(found) == 1
