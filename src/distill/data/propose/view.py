"""Sampled columns as the form of the rows divides them, and the lines that are proposed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from distill.data.propose.layout import Layout, find_layout
from distill.data.propose.values import Values, deviations, groups_of
from distill.encodings.arrow import Int64, explode


@dataclass(frozen=True)
class Line:
    """A line of the proposal.

    Attributes:
        column: Raw column; empty if none was found for what the line is.
        spec: What `schema.yaml` says of it; None if nothing can be said.
        why: What was seen, and what to check.
        used: Whether it holds; else it is a comment.
    """

    column: str
    spec: Any
    why: str
    used: bool = True


@dataclass(frozen=True)
class View:
    """A sample as its layout divides it.

    Attributes:
        layout: Form of the rows.
        values: Raw column to its values, of each row or (of `layout.lists`) of each candidate.
        request: In pairs, number of each row's request `[n]`.
        lists: Columns of `layout.lists` as they are.
    """

    layout: Layout
    values: Mapping[str, Values]
    request: Int64 | None
    lists: Mapping[str, pa.Array]

    @classmethod
    def of(cls, columns: Mapping[str, pa.Array]) -> View:
        """Divides a sample."""
        layout = find_layout(columns)
        values = {name: Values(name, explode(a)[0] if name in layout.lists else a) for name, a in columns.items()}
        key = layout.request if layout.shape == "pairs" else None
        lists = {name: columns[name] for name in layout.lists}
        return cls(layout, values, None if key is None else groups_of(columns[key]), lists)

    def per_candidate(self, name: str) -> bool:
        """Whether a column has a value per candidate."""
        return self.layout.shape != "requests" or name in self.layout.lists

    def in_one_request(self, name: str) -> bool:
        """Whether a column has one value in all rows of each request; so it is where there are no requests."""
        return self.request is None or not deviations(self.values[name].array, self.request)[0]

    def some(self, *, per_candidate: bool, but: tuple[str | None, ...] = ()) -> dict[str, Values]:
        """Returns the columns with a value per candidate, or per row, without some."""
        nested = self.layout.shape == "requests"
        fits = {name for name in self.values if not nested or self.per_candidate(name) is per_candidate}
        return {name: one for name, one in self.values.items() if name in fits and name not in but}
