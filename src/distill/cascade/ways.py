"""Ways to fill a page: one ranker's order, re-ranked by MMR, DPP and quotas, and what each gives and costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from distill.cascade.rerank import ItemView, RerankedPages
from distill.cascade.stages import Judged, by_rank, in_order
from distill.metrics.functional.reduce import PerRequest
from distill.serving import Rerank
from distill.serving.diversity import alpha_ndcg, category_coverage, intra_list_distance

ORDER, QUOTAS = "order", "quotas"
MEASURES = ("value", "distance", "coverage", "alpha_ndcg")


class Sweep(BaseModel):
    """Which ways are measured.

    Attributes:
        trade_offs: λ of MMR and DPP.
        category: Raw column of candidates that quotas, coverage and α-NDCG go by.
        most: Candidates of one category on a page, by quotas.
        window: Of MMR and DPP; None for all that were chosen.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    trade_offs: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(0.9, 0.7, 0.5, 0.3, 0.2, 0.1), min_length=1
    )
    category: str = Field(min_length=1)
    most: int = Field(default=2, ge=1)
    window: int | None = Field(default=None, ge=1)

    def ways(self) -> dict[str, Rerank | None]:
        """Returns name to re-ranker; None of the ranker's order."""
        quota = {"column": self.category, "most": self.most}
        found: dict[str, Rerank | None] = {
            ORDER: None,
            QUOTAS: Rerank.model_validate({"type": "quotas", "quotas": [quota]}),
        }
        for kind in ("mmr", "dpp"):
            for trade_off in self.trade_offs:
                given = {"type": kind, "trade_off": trade_off, "window": self.window}
                found[f"{kind} {trade_off:g}"] = Rerank.model_validate(given)
        return found

    def needs(self) -> Rerank:
        """A re-ranker that reads all that they read."""
        quota = {"column": self.category, "most": self.most}
        return Rerank.model_validate({"type": "mmr", "trade_off": self.trade_offs[0], "quotas": [quota]})


def measure_ways(
    sweep: Sweep, ranked: Tensor, judged: Judged, items: ItemView, page: int, value: Tensor | None, relevant: Tensor
) -> dict[str, dict[str, PerRequest]]:
    """Fills the pages in every way and measures them.

    Args:
        sweep: The ways.
        ranked: The ranker's place of each candidate `[N]`, −1 of those that it cut.
        judged: The candidates.
        items: Their vectors, and the codes of the category.
        page: n.
        value: Of showing a candidate `[N]`, NaN where it is not known; None if no values are.
        relevant: y of α-NDCG `[N]` bool.

    Returns:
        Way to measure: `value`, the mean over the page; `distance`, the intra-list distance; `coverage`, the share
        that the page has of the categories of what the ranker passed on; `alpha_ndcg` at n, α = ½, among that.
    """
    return {
        name: _measure(
            by_rank(page)(ranked) if way is None else RerankedPages(way, page, judged, items)(ranked),
            ranked, judged, items, sweep.category, value, relevant,
        )
        for name, way in sweep.ways().items()
    }  # fmt: skip


def _measure(
    pages: Tensor,
    ranked: Tensor,
    judged: Judged,
    items: ItemView,
    category: str,
    value: Tensor | None,
    relevant: Tensor,
) -> dict[str, PerRequest]:
    assert items.vectors is not None
    found: Mapping[str, list[float]] = {name: [] for name in MEASURES}
    for passed, page in zip(in_order(ranked, judged), in_order(pages, judged), strict=True):
        codes, order = items.codes[category][items.place[passed]].numpy(), ranked[page].numpy()
        vectors = items.vectors[items.place[page]].numpy()
        found["value"].append(float("nan") if value is None or not len(page) else float(value[page].mean()))
        found["distance"].append(intra_list_distance(vectors))
        found["coverage"].append(category_coverage(codes[order], codes))
        found["alpha_ndcg"].append(alpha_ndcg(codes, relevant[passed].numpy(), order, max(len(page), 1)))
    made = {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}
    return {name: PerRequest.of(values, ~values.isnan()) for name, values in made.items()}
