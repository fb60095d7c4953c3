"""A fit with its callbacks, as on a device: unlogged steps do not wait, and what is seen late is right."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from distill.batch import Batch, LossReport
from distill.errors import DataError
from distill.losses import CompositeLoss, LossInputs
from distill.losses.terms import BernoulliKL, HardBCE, ItemContrast, NeuralSort, RankNet, SampledSoftmax, SoftmaxKL
from distill.ops.waiting import as_on_a_device
from distill.sampling import RandomNegatives, StageNegatives
from distill.training.callbacks import FitProgress, LossLog, StopOnNonFinite
from distill.training.checkpoint_io import read_checkpoint
from distill.training.module import RankingModule
from distill.training.saved_step import read_batch
from tests.no_sync import waits
from tests.training.stepping import batch_of, module_of, state_of
from tests.training.test_no_sync import serves

STEPS, EVERY = 12, 5


class Batches:
    """Batches of an epoch, as a model that is served sees them or not."""

    def __init__(self, serving: bool = True) -> None:
        self.serving = serving

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Any:
        return iter([batch_of(self.serving, seed) for seed in range(STEPS)])


class First(pl.Callback):
    """Begins a step as on a device, and to watch it if it is not logged; must be the first callback."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.steps = 0
        self._places: list[str] = []
        self._stack: ExitStack | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._stack = ExitStack()
        self._stack.enter_context(as_on_a_device())
        if (trainer.global_step + 1) % EVERY:
            self.steps += 1
            self._places = self._stack.enter_context(waits())

    def on_exception(self, *_: Any) -> None:
        self.end()

    def end(self) -> None:
        if self._stack is not None:
            self._stack.close()
            self.found += self._places
            self._places, self._stack = [], None


class Last(pl.Callback):
    """Ends it; must be the last callback."""

    def __init__(self, first: First) -> None:
        self.first = first

    def on_train_batch_end(self, *_: Any) -> None:
        self.first.end()


class Weights(pl.Callback):
    """Keeps the weights before each step."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, RankingModule)
        self.states.append(state_of(pl_module))


def fit(module: RankingModule, *callbacks: pl.Callback) -> First:
    first = First()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        log_every_n_steps=EVERY,
        enable_model_summary=False,
        callbacks=[first, *callbacks, Last(first)],
    )
    trainer.fit(module, Batches(serves(module)))
    return first


def distilled(embedding: str = "rowwise_adagrad") -> RankingModule:
    terms = {"hard": HardBCE(), "soft": BernoulliKL(), "list": SoftmaxKL()}
    return module_of("two_tower", terms, embedding=embedding)


def test_steps_that_are_not_logged_do_not_wait(tmp_path: Path) -> None:
    stop, log, bar = StopOnNonFinite(str(tmp_path), "student", EVERY), LossLog(EVERY), FitProgress("student")
    first = fit(distilled(), stop, log, bar)
    assert first.steps == STEPS - STEPS // EVERY
    assert first.found == []


def paired() -> RankingModule:
    """Terms over pairs, positives and items, whose sizes depend on values."""
    terms = {"pairs": RankNet(), "teacher": NeuralSort(), "in_batch": SampledSoftmax(), "contrast": ItemContrast()}
    return module_of("two_tower", terms, {"random": RandomNegatives(), "stage": StageNegatives()})


@pytest.mark.parametrize("make", [paired, lambda: module_of("din"), lambda: module_of("bst")])
def test_steps_whose_sizes_depend_on_values_do_not_wait(make: Callable[[], RankingModule], tmp_path: Path) -> None:
    stop = StopOnNonFinite(str(tmp_path), "student", EVERY)
    module = make()
    first = fit(module, stop, LossLog(EVERY))
    assert first.steps == STEPS - STEPS // EVERY
    assert first.found == []


def test_the_bar_and_the_monitor_see_the_logged_loss() -> None:
    module, log = distilled(), LossLog(EVERY)
    fit(module, log, FitProgress("student"))
    shown = module.trainer.progress_bar_metrics["train/loss"]
    assert isinstance(shown, float)
    assert float(module.trainer.callback_metrics["train/loss"]) == pytest.approx(shown)


class Breaks(CompositeLoss):
    """A loss whose value, or gradient alone, is not finite at some steps."""

    def __init__(self, loss: CompositeLoss, steps: tuple[int, ...], gradient_alone: bool) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(loss.__dict__)
        self.steps, self.gradient_alone = steps, gradient_alone

    def forward(self, inputs: LossInputs) -> LossReport:
        report = super().forward(inputs)
        if inputs.step not in self.steps:
            return report
        zero = 0 * inputs.output.logits.sum()
        total = report.total + (0 * zero.sqrt() if self.gradient_alone else zero + torch.inf)
        return LossReport(total, report.parts, report.weights)


@pytest.mark.parametrize("embedding", ["rowwise_adagrad", "sparse_adam"])
@pytest.mark.parametrize(("steps", "gradient_alone"), [((6,), True), ((6, 8), False), ((11,), False), ((9,), True)])
def test_a_step_that_was_not_finite_is_reported_late_and_changes_no_weight(
    steps: tuple[int, ...], gradient_alone: bool, embedding: str, tmp_path: Path
) -> None:
    module, weights = distilled(embedding), Weights()
    module.loss = Breaks(module.loss, steps, gradient_alone)
    with pytest.raises(DataError) as raised:
        fit(module, weights, StopOnNonFinite(str(tmp_path), "student", EVERY))
    error, bad = raised.value, steps[0]
    assert error.problem.startswith("A gradient is not" if gradient_alone else "The loss is not")
    assert f"step {bad}," in str(error.where)
    saved = read_checkpoint(tmp_path / f"non_finite_step{bad}_rank0.pt")
    assert saved["step"] == bad
    before = weights.states[bad]
    assert {name: bool(torch.equal(saved["state_dict"][name], before[name])) for name in saved["state_dict"]} == (
        dict.fromkeys(saved["state_dict"], True)
    )
    changed = next(name for name in before if name.endswith("bias") and name.startswith("model"))
    assert not torch.equal(before[changed], weights.states[bad - 1][changed])
    prepared: Batch = _prepared(distilled(), batch_of(True, bad))
    assert torch.equal(saved["batch"]["row"], prepared.row)
    assert torch.equal(saved["batch"]["candidate"]["numbers"], prepared.candidate.numbers)
    assert read_batch(saved["batch"], tmp_path).sizes == prepared.sizes


def _prepared(module: RankingModule, batch: Batch) -> Batch:
    prepared: Batch = module.on_before_batch_transfer(batch, 0)
    return prepared
