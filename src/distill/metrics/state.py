"""Rows of one evaluation, kept while batches go by and gathered over all ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist

from distill.errors import DataError
from distill.metrics.packing import Layout, decode_layout, encode_layout, layout_of, pack, row_bytes, unpack
from distill.metrics.room import Place, has_room, where_room_is
from distill.metrics.rows import CanonicalRows, ScoredRows, canonical, concatenate
from distill.ops.brought import Brought
from distill.ops.ranks import gather_ragged, world_size


class MetricState:
    """Collects the rows of an evaluation.

    Metrics are computed on the rows of all ranks in canonical order, never averaged over ranks, so 1 and n processes
    agree exactly.

    Args:
        place: `host`: rows are brought to the CPU in pieces of many. `auto`: those of a single process stay on its
            device while that has room for their metrics; see `room`.
    """

    def __init__(self, place: Place = "host") -> None:
        self._rows = Brought(concatenate, stays=has_room if place == "auto" else None)

    def update(self, rows: ScoredRows) -> None:
        """Adds the rows of a batch, copied and without gradient; a GPU is not waited for at each batch."""
        self._rows.add(rows, rows.num_rows, rows.row)

    def reset(self) -> None:
        """Forgets all rows."""
        self._rows.reset()

    def gather(self) -> CanonicalRows:
        """Brings the rows of all ranks together, on every rank.

        With several ranks this is a collective call: all of them must make it. A rank may hold no rows.

        Returns:
            The same canonical table on every rank, with the counts of dropped rows; on the CPU, or with one process
            also where the rows were made.

        Raises:
            DataError: If no rank holds rows, or ranks differ in their columns; then it is raised on all ranks.
        """
        if parts := self._rows.parts():
            parts = [_joined(parts)]
            self._rows.reset(parts)  # the batches' own rows make room for what metrics need
        if world_size() > 1:
            return canonical(_gather_ranks(parts[0] if parts else None))
        return where_room_is(canonical, concatenate(parts))


def _joined(parts: Sequence[ScoredRows]) -> ScoredRows:
    """Puts pieces of a device together, or on the host if there is no room for that."""
    try:
        return concatenate(parts)
    except torch.OutOfMemoryError:
        return concatenate([part.to("cpu") for part in parts])


def _gather_ranks(rows: ScoredRows | None) -> ScoredRows:
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    own = torch.empty(0, dtype=torch.uint8) if rows is None else encode_layout(layout_of(rows))
    layout = _agree([decode_layout(part.cpu()) for part in gather_ragged(own.to(device)) if part.numel()])
    data = torch.empty(0, row_bytes(layout), dtype=torch.uint8) if rows is None else pack(rows)
    return unpack(layout, torch.cat([part.cpu() for part in gather_ragged(data.to(device))]))


def _agree(layouts: list[Layout]) -> Layout:
    if not layouts:
        raise DataError("There are no rows to measure on any rank.", remedy="Check that the split is not empty.")
    for other in layouts[1:]:
        if other != layouts[0]:
            raise DataError(
                "Ranks of one evaluation differ in their columns.",
                expected=", ".join(f"{name}:{dtype}" for name, dtype, _ in layouts[0]),
                found=", ".join(f"{name}:{dtype}" for name, dtype, _ in other),
                remedy="Give every rank the same files and the same configuration.",
            )
    return layouts[0]
