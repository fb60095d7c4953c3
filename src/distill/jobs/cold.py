"""Tells models which ids are groups of which, as the encodings of their dataset say."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.data.format import Dataset
from distill.encodings import FittedEncodings
from distill.encodings.groups import group_table
from distill.encodings.tables import FittedVocabulary
from distill.features import EmbeddingTables, TableGroups


def tell_groups(modules: Sequence[nn.Module | None], dataset: Dataset) -> None:
    """Tells models that are to be trained; one that is loaded from a checkpoint knows.

    Args:
        modules: Models, or what holds them.
        dataset: That they are built for.
    """
    parts = [part for module in modules if module is not None for part in module.modules()]
    asking = [part for part in parts if isinstance(part, TableGroups) and part.tables]
    if not asking:
        return
    groups = _groups(dataset)
    for of_table in asking:
        of_table.tell(groups)
    for tables in (part for part in parts if isinstance(part, EmbeddingTables)):
        tables.set_group_rows()


def _groups(dataset: Dataset) -> dict[str, Tensor]:
    """Table to the groups of each id."""
    tables = FittedEncodings.load(dataset.root, dataset.manifest.encodings).tables
    found = {name: t.groups for name, t in tables.items() if isinstance(t, FittedVocabulary) and t.groups is not None}
    return {name: torch.from_numpy(group_table(groups)) for name, groups in found.items()}
