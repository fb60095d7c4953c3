"""Self-supervised contrast of items, as a loss term: two views of an item among the views of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from distill.batch import MISSING_KEY, Batch, FeatureBlock, TeacherSignals
from distill.data.items import ItemFields, first_rows
from distill.errors import ConfigError
from distill.losses.functional.info_nce import info_nce
from distill.losses.item_views import correlated_halves, masked_view, num_fields, with_dropout, without_fields
from distill.losses.schedule import Schedule, temperature_schedule
from distill.losses.setting import LossSetting
from distill.losses.terms.base import LossInputs, LossTerm, TermSums, at_least_float32
from distill.ops.keys import first_equal
from distill.ops.random import hashed_uniform
from distill.ops.waiting import can_look

Items = Literal["catalogue", "batch"]
_SEED_FIELD, _PLACES, _SHIFT, _FEWER, _VIEWS = range(5)  # what a draw is for


class ItemContrast(LossTerm):
    """Draws together what the item tower makes of two halves of an item's fields, and apart those of different items.

    ``-log softmax_j(cos(a_i, b_j) / τ)_i`` with a and b the vectors of the first and second views of the items of a
    step; several vectors of an item are put side by side. At each step a field is drawn; the first view lacks it and
    the fields that are most correlated with it, half of the fields in all, and the second view lacks the others
    (correlated feature masking), so that neither view can be guessed from a field that says the same. Both lose random
    values of their sequences, and random ids if asked for. Correlation is mutual information, counted once over the
    catalogue or, without one, over items of the training split (see `item_views.field_codes`).

    Items of `items="catalogue"` are drawn without replacement, each alike, as most items are rare in a log; all
    processes take the same ones, so several compute what one would. With `batch` they are the different items of the
    rows that the term acts on, and negatives are those of the process's own batch. An item is never its own negative.
    Draws depend on the seed, the step and the items alone. Reduction: mean over items. Gradient path: to the item
    tower, dropout and all.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        items: `catalogue` or `batch`.
        num_items: Most items of a step.
        rows: Row selector or several for their union, of `batch` alone; exposed candidates if None.
        temperature: τ > 0, a number or a schedule.
        dropout: Share of the values of sequences that a view lacks.
        id_dropout: Share of the ids that a view lacks beside those of its masked fields.
        seed: Of the draws.

    Raises:
        ConfigError: An option is out of its range, or rows are given for items of the catalogue.

    Reference: Yao et al., "Self-supervised Learning for Large-scale Item Recommendations", CIKM 2021, arXiv:2007.12865,
    sections 3 and 4. Deviations: half of F fields are F // 2 with the drawn one; numbers, vectors and sequences are
    masked too, for which they are made discrete.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"item_id"})

    order: Tensor
    halves: Tensor

    def __init__(
        self,
        weight: float | Schedule = 0.1,
        items: Items = "catalogue",
        num_items: int = 512,
        rows: str | Sequence[str] | None = None,
        temperature: float | Schedule = 0.07,
        dropout: float = 0.1,
        id_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(weight, "exposed" if rows is None else rows, None)
        self.temperature = self.planned(
            "temperature", temperature_schedule(temperature, where="ItemContrast.temperature")
        )
        if items not in ("catalogue", "batch") or num_items < 1 or not (0 <= dropout < 1 and 0 <= id_dropout < 1):
            raise ConfigError(
                "The options of the item contrast are wrong.",
                where="ItemContrast",
                expected="items: catalogue or batch; num_items ≥ 1; dropout and id_dropout from 0 to below 1",
                found=f"items={items}, num_items={num_items}, dropout={dropout}, id_dropout={id_dropout}",
            )
        if items == "catalogue" and rows is not None:
            raise ConfigError(
                "Items of the catalogue have no rows to select.",
                where="ItemContrast.rows",
                expected="null",
                found=str(rows),
                remedy="Choose items=batch, or leave rows out.",
            )
        self.items, self.num_items, self.seed = items, num_items, seed
        self.dropout, self.id_dropout = dropout, id_dropout
        self._known: ItemFields | None = None
        self._halves: list[list[bool]] = []
        self.register_buffer("order", torch.empty(0, dtype=torch.int64), persistent=False)
        self.register_buffer("halves", torch.empty(0, 0, dtype=torch.bool), persistent=False)

    def setup(self, setting: LossSetting) -> None:
        """Finds out which fields are correlated; see `LossTerm.setup`.

        Raises:
            ConfigError: Also if the student has no item tower; items of the catalogue are wanted and there is none; or
                items have fewer than two fields.
        """
        super().setup(setting)
        vectors = setting.student_vectors()
        if "candidate" not in vectors:
            raise ConfigError(
                "Only the vectors of an item tower can be contrasted.",
                where="ItemContrast",
                expected="a student with a hidden vector `candidate`, such as two_tower, dat, int_tower or three_tower",
                found=", ".join(f"{n} [{w}]" for n, w in vectors.items()) or "no hidden vectors",
                remedy="Choose such a model, or remove the term from the loss.",
            )
        self._learn(setting.items())

    def _learn(self, items: ItemFields) -> None:
        if self.items == "catalogue" and not items.are_all:
            raise ConfigError(
                "The dataset has no catalogue to draw items from.",
                where="ItemContrast.items",
                expected="a dataset with items/, or items: batch",
                found="catalogue",
                remedy="Prepare the data with data.items=FILE (one row per item), or choose items=batch.",
            )
        if num_fields(items.fields) < 2 or not items.fields.num_rows:
            raise ConfigError(
                "An item has too few fields to divide into two views.",
                where="ItemContrast",
                expected="items with two or more candidate-side fields that the student sees",
                found=f"{items.fields.num_rows} items with {num_fields(items.fields)} such fields",
            )
        self._known = replace(items, fields=items.fields.measured())
        halves = correlated_halves(items.fields)
        self._halves, self.halves = halves.tolist(), halves.to(self.halves.device)
        generator = torch.Generator().manual_seed(self.seed)
        self.order = torch.randperm(items.item_id.shape[0], generator=generator).to(self.order.device)

    def acts_on(self, batch: Batch, signals: TeacherSignals | None) -> Tensor:
        """Says of which candidates the items are taken: none if they come from the catalogue."""
        if self.items == "catalogue":
            return torch.zeros_like(batch.weight, dtype=torch.bool)
        return super().acts_on(batch, signals)

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit."""
        if self._known is None or inputs.encode_candidate is None:
            raise ConfigError("The loss term ItemContrast was used before `setup`.")
        known = self._known = self._known.to(self.order.device)
        if not can_look(self.order) and self._can_be_laid_out(inputs.batch.candidate):
            return self._laid_out(inputs, known, inputs.encode_candidate)
        item_id, chosen, block = (
            self._drawn(known, inputs.step) if self.items == "catalogue" else self._of_batch(inputs)
        )
        block = block.select(chosen)
        first, second = self._views(item_id, block, known.missing, inputs.step)
        vectors = at_least_float32(inputs.encode_candidate(first.joined(second)).flatten(1))
        count = block.num_rows
        values = info_nce(vectors[:count], vectors[count:], self.temperature.value(inputs.step))
        # DDP wants a gradient for every parameter of the student, those of the request tower too.
        total = values.sum() + inputs.output.logits[:0].sum()
        one = torch.ones(1, dtype=values.dtype, device=values.device)
        return TermSums(total.view(1), one * count, one)

    def _views(self, item_id: Tensor, block: FeatureBlock, missing: FeatureBlock, step: int) -> list[FeatureBlock]:
        field = int(hashed_uniform(torch.zeros(1, dtype=torch.int64), self.seed, step, _SEED_FIELD) * len(self._halves))
        half = self._halves[field]
        views = []
        for number, lost in enumerate((half, [not masked for masked in half])):
            view = without_fields(block, lost, missing)
            salts = (self.seed, step, _VIEWS, number)
            views.append(with_dropout(view, missing, self.dropout, self.id_dropout, item_id, salts))
        return views

    def _can_be_laid_out(self, candidates: FeatureBlock) -> bool:
        """Whether the host knows how long the sequences of items may be."""
        return self.items == "catalogue" or (candidates.num_rows > 0 and candidates.is_measured)

    def _laid_out(self, inputs: LossInputs, known: ItemFields, encode: Callable[[FeatureBlock], Tensor]) -> TermSums:
        """The same without a look at how many items there are, and how many values views have."""
        step, real = self.step_of(inputs), None
        if self.items == "catalogue":
            item_id, chosen, block = self._drawn(known, step)
        else:
            item_id, chosen, block = *self._first_of_batch(inputs, step), inputs.batch.candidate
            item_id, real = item_id.index_select(0, chosen), item_id.index_select(0, chosen) != MISSING_KEY
        field = hashed_uniform(torch.zeros_like(chosen[:1]), self.seed, step, _SEED_FIELD) * len(self._halves)
        half = self.halves.index_select(0, field.long())[0]
        rates = self.dropout, self.id_dropout
        first, second = (
            masked_view(block, chosen, lost, known.missing, rates, item_id, (self.seed, step, _VIEWS, number))
            for number, lost in enumerate((half, ~half))
        )
        vectors = at_least_float32(encode(first.joined(second)).flatten(1))
        count, begin = chosen.shape[0], first.num_rows
        temperature = self.temperature.value(inputs.step)
        values = info_nce(vectors[:count], vectors[begin : begin + count], temperature, real)
        number = torch.full((1,), count, dtype=values.dtype, device=values.device)
        if real is not None:
            values, number = torch.where(real, values, 0.0), real.sum(0, keepdim=True).to(values.dtype)
        total = values.sum() + inputs.output.logits[:0].sum()
        return TermSums(total.view(1), number, torch.ones_like(number))

    def _first_of_batch(self, inputs: LossInputs, step: int | Tensor) -> tuple[Tensor, Tensor]:
        """Returns items of all rows, missing where it is not the first row of an item that takes part `[N]`, and the
        rows of the items of the step, and maybe others behind them."""
        item_id = inputs.batch.item_id
        taken = self.selected(inputs) & (item_id != MISSING_KEY)
        own = torch.where(taken, item_id, MISSING_KEY)
        is_first = taken & (first_equal(own, ~taken) == torch.arange(own.shape[0], device=own.device))
        draw = hashed_uniform(item_id, self.seed, step, _FEWER)
        order = torch.where(is_first, draw, 2.0).argsort(stable=True)
        return torch.where(is_first, item_id, MISSING_KEY), order[: self.num_items]

    def _drawn(self, known: ItemFields, step: int | Tensor) -> tuple[Tensor, Tensor, FeatureBlock]:
        """Draws items of the catalogue, one from each of as many equal parts of it that move from step to step; returns
        them and their rows among all."""
        total, device = self.order.shape[0], self.order.device
        count = min(self.num_items, total)
        bounds = torch.arange(count + 1, device=device) * total // count
        inside = hashed_uniform(bounds[:-1], self.seed, step, _PLACES) * bounds.diff()
        shift = hashed_uniform(torch.zeros_like(bounds[:1]), self.seed, step, _SHIFT) * total
        chosen = self.order[(bounds[:-1] + inside.long() + shift.long()) % total]
        return known.item_id[chosen], chosen, known.fields

    def _of_batch(self, inputs: LossInputs) -> tuple[Tensor, Tensor, FeatureBlock]:
        """Takes each item of the selected rows once; returns them and their rows among all."""
        (rows,) = self.selected(inputs).nonzero(as_tuple=True)
        item_id, first = first_rows(inputs.batch.item_id.index_select(0, rows))
        if item_id.shape[0] > self.num_items:
            draw = hashed_uniform(item_id, self.seed, inputs.step, _FEWER)
            kept = draw.argsort(stable=True)[: self.num_items].sort().values
            item_id, first = item_id[kept], first[kept]
        return item_id, rows[first], inputs.batch.candidate
