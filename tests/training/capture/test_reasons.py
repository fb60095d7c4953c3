"""What cannot be captured says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from distill.layers.mlp import MLP
from distill.losses import CompositeLoss, GradNorm, terms
from distill.training.callbacks import LossLog, StopOnNonFinite
from distill.training.capture.reasons import why_not_captured
from distill.training.cotraining import CotrainedTeacher
from distill.training.module import RankingModule
from tests.marks import some_fast
from tests.training.capture.tape import TapeRecorder
from tests.training.stepping import module_of
from tests.training.test_no_sync import CASES, WAITING


def trainer_of(module: RankingModule, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=list(callbacks), **options
    )
    trainer.strategy._optimizers = [module._optimizer_factory.build(module)]
    return trainer


def why(module: RankingModule, *callbacks: pl.Callback, **options: Any) -> str | None:
    return why_not_captured(module, trainer_of(module, *callbacks, **options), TapeRecorder())


@pytest.mark.parametrize(("make", "name"), some_fast(CASES, 9))
def test_what_has_static_shapes_can_be_captured(make: Callable[[str], RankingModule], name: str) -> None:
    module = make(name)
    found = why(module)
    if name not in WAITING:
        assert found is None
    else:
        assert found is not None
        assert found.endswith("computes depend on values")


class Own(terms.HardBCE):
    """A term of somebody's own that waits, and says so."""

    needs_shapes = True


def test_a_term_that_says_that_it_waits() -> None:
    expected = "the sizes of what the loss term Own computes depend on values"
    assert why(module_of("two_tower", {"hard": Own()})) == expected


class Gradients(pl.Callback):
    """Somebody's own, which reads gradients."""

    def on_before_optimizer_step(self, *_: Any) -> None:
        """Reads them."""


class OwnStrategy(DDPStrategy):
    """Somebody's own, which may exchange more."""


def two_tower() -> RankingModule:
    return module_of("two_tower")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"precision": "bf16-mixed"}, None),
        ({"precision": "bf16-true"}, "trainer.precision is bf16-true, not 32-true or bf16-mixed"),
        ({"precision": "64-true"}, "trainer.precision is 64-true, not 32-true or bf16-mixed"),
        ({"accumulate_grad_batches": 2}, "gradients of 2 batches are added up"),
        ({"gradient_clip_val": 0.5}, "trainer.gradient_clip_val is set (see optimizer.clip_norm)"),
        ({"detect_anomaly": True}, "trainer.detect_anomaly is set"),
        ({"strategy": "ddp"}, None),
        ({"strategy": "ddp", "devices": 2}, None),
        ({"strategy": "ddp", "devices": 1, "num_nodes": 2}, None),
        (
            {"strategy": "ddp", "devices": 2, "num_nodes": 2},
            "touched rows are exchanged between the ranks of each node first",
        ),
        (
            {"strategy": "ddp_find_unused_parameters_true"},
            "the strategy has options for the exchange of gradients (find_unused_parameters)",
        ),
        ({"strategy": OwnStrategy()}, "the strategy is OwnStrategy"),
    ],
)
def test_options_of_the_trainer(options: dict[str, Any], expected: str | None) -> None:
    module = two_tower()
    assert why(module) is None
    assert why(module, **options) == expected


def test_callbacks_that_act_within_a_step(tmp_path: object) -> None:
    module = two_tower()
    assert why(module, StopOnNonFinite(str(tmp_path), "student"), LossLog(5)) is None
    assert why(module, Gradients()) == "the callback Gradients acts within a step"


def test_another_optimiser() -> None:
    module = two_tower()
    trainer = trainer_of(module)
    trainer.strategy._optimizers = [torch.optim.SGD(module.parameters(), 0.1)]
    assert why_not_captured(module, trainer, TapeRecorder()) == "the optimiser is none of this package"


def test_a_device_without_a_recorder() -> None:
    module = two_tower()
    assert why_not_captured(module, trainer_of(module), None) == "the model is on no GPU"


def test_parts_of_a_model() -> None:
    module = two_tower()
    module.model.add_module("other", MLP(4, [3], norm="batch"))
    assert why(module) == "a batch norm would count rows of padding"
    module = two_tower()
    module.model.add_module("other", nn.Linear(3, 2))
    module.model.get_submodule("other").compile()
    assert why(module) == "layers are compiled (compile.enabled)"


def test_a_teacher_that_learns() -> None:
    loss = module_of("two_tower", {"hard": terms.HardBCE()}).loss
    module = module_of("two_tower", signals=CotrainedTeacher(module_of("dnn").model, loss, {}))
    assert why(module) == "the teacher learns in the same step"


def test_a_loss_that_asks_for_gradients() -> None:
    module = two_tower()
    module.loss = CompositeLoss(module.loss.named_terms(), weighting=GradNorm())
    assert why(module) == "GradNorm asks for the gradient of each term"
