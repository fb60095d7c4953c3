"""A model that other processes use too: what they are sent is where it lies, and each loads it once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from distill.encodings import FittedEncodings
from distill.features import EmbeddingTables, TableFactory
from distill.jobs.node import plain
from distill.jobs.parts import LoadedModel, load_model
from distill.jobs.trust import trusting


@dataclass(frozen=True)
class SentModel:
    """A checkpoint or a bundle.

    Attributes:
        path: Of it.
        trusted: Packages whose classes it may be made of.
        threads: CPU threads of another process that uses it.
        tables: Builds its embedding tables.
    """

    path: Path
    trusted: tuple[str, ...]
    threads: int
    tables: TableFactory = EmbeddingTables

    @classmethod
    def of(cls, path: Path, cfg: DictConfig, tables: TableFactory = EmbeddingTables) -> SentModel:
        """Names a model as a command does."""
        return cls(path, tuple(plain(cfg.trusted)), int(cfg.threads or 1), tables)

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model, loaded when it is first asked for."""
        with trusting(self.trusted):
            return load_model(self.path, self.tables)

    @cached_property
    def fitted(self) -> FittedEncodings:
        """Its encodings.

        Raises:
            DataError: It carries none.
        """
        return self.loaded.fitted(self.path)

    def __getstate__(self) -> dict[str, Any]:
        """Sends what is declared, not what was loaded."""
        return {own.name: getattr(self, own.name) for own in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrives in another process, whose threads are those of the model."""
        self.__dict__.update(state)
        torch.set_num_threads(self.threads)
