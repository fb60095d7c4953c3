"""Plain steps: the run that Lightning's own loop takes, to the bit, at fewer calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from distill.ops.waiting import as_on_a_device
from distill.training.plain_steps import PlainSteps
from tests.jobs.entry import run_dirs, tiny_arguments, train
from tests.jobs.run_state import checkpoint_state, difference, history, summary_state
from tests.no_sync import waits

_SETTINGS = (
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=5",
    "trainer.val_check_interval=0.4",
    "callbacks.checkpoint_every_n_steps=7",
    "callbacks.weight_average=0.9",
    "scheduler=cosine",
)


class Counts:
    """How many steps Lightning took, and how many this loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lightning: list[int] = []
        self.plain: list[int] = []
        advance, take = _TrainingEpochLoop.advance, PlainSteps._take

        def of_lightning(loop: Any, fetcher: Any) -> None:
            advance(loop, fetcher)
            self.lightning.append(loop.global_step)

        def own(loop: Any, fetcher: Any) -> None:
            take(loop, fetcher)
            self.plain.append(loop.global_step)

        monkeypatch.setattr(_TrainingEpochLoop, "advance", of_lightning)
        monkeypatch.setattr(PlainSteps, "_take", own)


class Acts(pl.Callback):
    """Acts in a step, and does not say how."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps += 1


class Sees(pl.Callback):
    """Sees what happens in a step, and ends the training within one; it says that it may be called in plain steps."""

    plain_steps = "called"
    seen: ClassVar[list[tuple[str, int]]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen.append(("start", trainer.global_step))

    def on_after_backward(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen.append(("backward", trainer.global_step))

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen.append(("end", trainer.global_step))
        trainer.should_stop = trainer.global_step == 18


def _arguments(root: Path, name: str, *more: str) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith("trainer.max_epochs")]
    return [
        "+experiment=quickstart",
        *tiny,
        *_SETTINGS,
        "control.enabled=false",
        "data.loader.batch_candidates=256",
        f"name={name}",
        *more,
    ]


def _differences(root: Path, *names: str) -> list[str | None]:
    a, b = (run_dirs(root, name)[0] for name in names)
    return [
        difference(checkpoint_state(a), checkpoint_state(b)),
        difference(history(a, "student"), history(b, "student")),
        difference(summary_state(a), summary_state(b)),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("trainer.max_steps=37",),
        ("trainer.val_check_interval=13", "trainer.check_val_every_n_epoch=2"),
        ("trainer.limit_train_batches=22", "trainer.precision=bf16-mixed"),
    ],
)
def test_a_run_is_that_of_lightnings_loop_to_the_bit(
    settings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(PlainSteps, "put_into", lambda trainer: None)
        train(*_arguments(tmp_path, "lightning", *settings))
    counts = Counts(monkeypatch)
    train(*_arguments(tmp_path, "plain", *settings))
    assert _differences(tmp_path, "lightning", "plain") == [None] * 3
    assert len(counts.plain) > len(counts.lightning) > 0
    assert not [step for step in counts.plain if step % 5 == 0 or step % 7 == 0]


@pytest.mark.parametrize("setting", ["trainer.accumulate_grad_batches=2", "trainer=profile"])
def test_what_it_does_not_know_is_left_to_lightning(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counts(monkeypatch)
    train(*_arguments(tmp_path, "run", "trainer.limit_train_batches=4", setting))
    assert counts.plain == []
    assert len(counts.lightning) > 0


def test_callbacks_of_others_see_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts(monkeypatch)
    extra = f"+callbacks.extra.acts={{_target_: {Acts.__module__}.Acts}}"
    train(*_arguments(tmp_path, "run", "trainer.limit_train_batches=4", extra))
    assert counts.plain == []
    assert len(counts.lightning) > 0


def test_gradients_are_clipped_by_the_optimizers_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(*_arguments(tmp_path, "run", "+trainer.gradient_clip_val=1.0"))
    error = capsys.readouterr().err
    assert "trainer.gradient_clip_val" in error
    assert "optimizer.clip_norm" in error
    assert "Traceback" not in error


def test_callbacks_that_say_so_see_every_step_and_may_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    extra = f"+callbacks.extra.sees={{_target_: {Sees.__module__}.Sees}}"
    for name in ("lightning", "plain"):
        monkeypatch.setattr(Sees, "seen", [])
        with monkeypatch.context() as patch:
            if name == "lightning":
                patch.setattr(PlainSteps, "put_into", lambda trainer: None)
            train(*_arguments(tmp_path, name, extra))
        seen.append(Sees.seen[-3 * 18 :])  # the teacher is trained once
    assert seen[0] == seen[1]
    assert seen[1][-1] == ("end", 18)
    assert _differences(tmp_path, "lightning", "plain")[0] is None


def test_they_do_not_wait_for_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take, found, steps = PlainSteps._take, list[str](), list[int]()

    def watched(loop: Any, fetcher: Any) -> None:
        with as_on_a_device(), waits() as places:
            take(loop, fetcher)
        found.extend(places)
        steps.append(loop.global_step)

    monkeypatch.setattr(PlainSteps, "_take", watched)
    train(*_arguments(tmp_path, "run", "trainer.max_epochs=1"))
    assert steps
    assert found == []
