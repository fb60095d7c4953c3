"""What a re-ranker knows of the items of a split: vectors of a pre-ranker, and categories of quotas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from distill.batch import FeatureBlock
from distill.cascade.rerank import ItemView
from distill.data.format import Dataset
from distill.data.items import first_rows
from distill.errors import ConfigError
from distill.jobs.of_model import dataset_of_model
from distill.jobs.parts import LoadedModel
from distill.jobs.scored import batches_of
from distill.metrics import ScoredRows
from distill.models.prerankers.base import SplitPreRanker
from distill.schema import Schema, Side
from distill.serving import Rerank
from distill.serving.ranking import flat_vectors

_Make = Callable[[FeatureBlock], Tensor]


def item_view(
    cfg: DictConfig, rows: ScoredRows, rerank: Rerank, dataset: Dataset, model: tuple[Path, LoadedModel] | None
) -> ItemView:
    """Reads each item once, where the split names it first; all ranks call it together.

    Args:
        cfg: Names the split.
        rows: Of the split.
        rerank: Says what is wanted.
        dataset: Has the columns of quotas as id fields.
        model: Whose item vectors are compared.

    Raises:
        ConfigError: It has none, or a quota reads a column that is not an id of the candidates.
    """
    items, place = torch.unique(rows.item_id, return_inverse=True)
    vectors, codes = None, dict[str, Tensor]()
    if rerank.needs_vectors:
        vectors = _vectors(cfg, items, rerank, model)
    if rerank.columns:
        columns = [_id_column(dataset.schema, name) for name in rerank.columns]
        found = _of_items(cfg, dataset, dataset.schema, items, lambda block: block.ids[:, columns])
        codes = dict(zip(rerank.columns, found.unbind(1), strict=True))
    return ItemView(place, vectors, codes)


def _vectors(cfg: DictConfig, items: Tensor, rerank: Rerank, model: tuple[Path, LoadedModel] | None) -> Tensor:
    net = None if model is None else model[1].model
    if model is None or not isinstance(net, SplitPreRanker):
        raise ConfigError(
            "Re-ranking compares vectors of candidates, and this model has none.",
            where="rerank_vectors",
            expected="a checkpoint of a pre-ranker with vectors of both sides, such as two_tower",
            found="no checkpoint" if model is None else f"{model[0]}: {type(net).__name__}",
        )
    path, loaded = model
    dataset, split = dataset_of_model(cfg, loaded, path), net
    vectors = _of_items(cfg, dataset, loaded.schema, items, lambda block: split.encode_candidate(block).float())
    return torch.from_numpy(flat_vectors(vectors.numpy(), rerank))


def _id_column(schema: Schema, name: str) -> int:
    ids = [field.column for field in schema.side(Side.CANDIDATE) if field.is_id]
    if name not in ids:
        raise ConfigError(
            "A quota reads a column that is not an id of the candidates.",
            where="rerank.quotas",
            expected=", ".join(dict.fromkeys(ids)) or "an id field on the side of candidates",
            found=name,
        )
    return ids.index(name)


@torch.no_grad()
def _of_items(cfg: DictConfig, dataset: Dataset, schema: Schema, items: Tensor, make: _Make) -> Tensor:
    """Returns a row for each of `items [I]`, ascending, from the candidate side of its first row in the split."""
    found: Tensor | None = None
    seen = torch.zeros(items.numel(), dtype=torch.bool)
    for batch in batches_of(cfg, dataset, schema.fields, whole=True):
        keys, rows = first_rows(batch.item_id)
        place = torch.searchsorted(items, keys.cpu())
        new = ~seen[place]
        made = make(batch.candidate.select(rows[new.to(rows.device)])).cpu()
        found = made.new_zeros(items.numel(), *made.shape[1:]) if found is None else found
        found[place[new]] = made
        seen[place] = True
    assert found is not None
    return found
