"""Ctrl-C and SIGTERM end a run between two steps, with a checkpoint; afterwards the signals are what they were."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl

from distill.ops.ranks import any_rank
from distill.ops.waiting import can_look_on

_log = logging.getLogger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MOST_STEPS = 50


class CheckpointOnInterrupt(pl.Callback):
    """Ends a run on Ctrl-C or SIGTERM after the step at hand, leaving `last.ckpt`, and says how to go on.

    With several processes the signal may reach one of them, or each at another moment: they agree at the end of a step;
    where that waits for a device, at the end of one that is logged, every 50 steps at least. A validation is finished
    first. A second signal does what it would have done without this callback: it ends the
    process at once, and the checkpoint before it stays. Lightning's own SIGTERM handler, which calls a collective
    within the handler, is replaced; its SIGUSR1 handler (requeueing under Slurm) is left alone.

    Args:
        directory: Where the checkpoint is written.
        hint: A sentence with the command that resumes.
        every: Steps from one agreement to the next, where it waits for a device; 0 for the most.
    """

    plain_steps: ClassVar[str] = "called"

    def __init__(self, directory: str, hint: str, every: int = 0) -> None:
        self.directory = Path(directory)
        self.hint = hint
        self.every = min(every or _MOST_STEPS, _MOST_STEPS)
        self._asked = False
        self._telling: threading.Thread | None = None
        self._before: dict[signal.Signals, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remembers the handlers before Lightning touches them."""
        self._asked = False
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listens, in place of Lightning; only a main thread can."""
        if _can_listen():
            for number in self._before:
                signal.signal(number, self._ask)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves and stops if any process was asked to.

        Raises:
            KeyboardInterrupt: It was.
        """
        waits = trainer.world_size > 1 and not can_look_on(pl_module.device)
        if not waits or trainer.global_step % self.every == 0:
            self._stop_if_asked(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops if a process was asked to during the last validation, and gives the signals back.

        Raises:
            KeyboardInterrupt: It was.
        """
        self._stop_if_asked(trainer, pl_module)
        self._give_back()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Gives the signals back."""
        self._give_back()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Gives the signals back."""
        self._give_back()

    def _ask(self, number: int, frame: Any) -> None:
        self._asked = True
        self._give_back()
        self._telling = threading.Thread(
            target=_log.warning, args=("Stopping after this step; a second signal stops at once.",)
        )
        self._telling.start()  # not here: the signal may have come while a bar was being drawn

    def _give_back(self) -> None:
        if _can_listen():
            for number, handler in self._before.items():
                if handler is not None:  # None: a handler of another language, which Python cannot set
                    signal.signal(number, handler)

    def _stop_if_asked(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not any_rank(self._asked, pl_module.device):
            return
        if self._telling is not None:
            self._telling.join()
        path = self.directory / "last.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            _log.warning("Interrupted at step %d: wrote %s. %s", trainer.global_step, path, self.hint)
        raise KeyboardInterrupt


class PlainSigterm(pl.Callback):
    """Keeps SIGTERM what it was during a test: there is nothing to save, and Lightning's handler could wait forever."""

    def __init__(self) -> None:
        self._before: Any = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remembers the handler before Lightning touches it."""
        self._before = signal.getsignal(signal.SIGTERM)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts it back."""
        if _can_listen() and self._before is not None:
            signal.signal(signal.SIGTERM, self._before)


def _can_listen() -> bool:
    return threading.current_thread() is threading.main_thread()
