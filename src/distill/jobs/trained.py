"""What a run trained, to be exported: loaded here, and again in other processes that work on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig

from distill.errors import ConfigError
from distill.export import Trained
from distill.jobs.bundle_model import BundleModel
from distill.jobs.checkpoints import checkpoint_of
from distill.jobs.node import plain
from distill.jobs.parts import load_model
from distill.jobs.trust import trusting


def load_trained(path: Path, in_parts: bool = True) -> Trained:
    """Loads what a checkpoint or a run folder holds, with its encodings.

    Args:
        path: It.
        in_parts: Whether a model that was trained as one is taken apart by side where it can be (`gated_parts`).

    Raises:
        DataError: It is not a checkpoint of a run, or carries no encodings.
        ConfigError: It is a bundle, or there is nothing to leave together.
    """
    checkpoint = checkpoint_of(path)
    loaded = load_model(checkpoint)
    loaded.fitted(checkpoint)
    if isinstance(loaded.model, BundleModel):
        raise ConfigError(
            "Bundles and item vectors are made from a checkpoint.",
            where="path",
            expected="the checkpoint that the bundle was made of",
            found=str(path),
        )
    assert loaded.encodings is not None
    whole = Trained(loaded.model, loaded.schema, loaded.encodings)
    parts = whole.in_parts()
    if not in_parts and parts is whole:
        raise ConfigError(
            "This model is not split for serving, so the option has no effect.",
            where="in_parts",
            expected="true, or a model such as cold or fscd",
            found=f"false of {whole.name}",
        )
    return parts if in_parts else whole


def sendable(trained: Trained, cfg: DictConfig) -> Trained:
    """Says how other processes load what this one has loaded from `path`."""
    path, packages = checkpoint_of(Path(cfg.path)).absolute(), tuple(plain(cfg.trusted))
    return replace(trained, again=partial(_load_there, path, bool(cfg.in_parts), packages, int(cfg.threads or 1)))


def _load_there(path: Path, in_parts: bool, packages: Sequence[str], threads: int) -> Trained:
    torch.set_num_threads(threads)
    with trusting(packages):
        return load_trained(path, in_parts)
