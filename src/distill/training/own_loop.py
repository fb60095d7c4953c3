"""Where the inside of the trainer is known, its loop is ours."""

from __future__ import annotations

from importlib.metadata import version

import pytorch_lightning as pl

_KNOWN = "2.6."


def take_plain_steps(trainer: pl.Trainer) -> None:
    """Has a trainer's plain steps taken by a loop of ours (see `PlainSteps`), if Lightning is of a version whose loop
    it was written for; of another one it is left as it is, which is slower and otherwise the same."""
    if version("pytorch-lightning").startswith(_KNOWN):
        from distill.training.plain_steps import PlainSteps  # of another version, its base may not exist

        PlainSteps.put_into(trainer)
