"""Where metrics are computed: where the rows lie, while there is room for it, and else on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import torch

from distill.metrics.rows import ScoredRows
from distill.ops.ranks import world_size

Place = Literal["auto", "host"]
HOST = torch.device("cpu")
PLACES: tuple[Place, ...] = ("auto", "host")

WORK = 8
"""Bytes that must be free on a device for each byte of a table that metrics are computed on there: to join its pieces,
and for the orders and sums of all metrics. Held by a test; the metrics of the package need less."""

T = TypeVar("T")


def has_room(num_bytes: int, device: torch.device) -> bool:
    """Says whether metrics of a table of so many bytes are computed on a device; several processes, which must find the
    same to the bit, compute them on the host."""
    return world_size() == 1 and WORK * num_bytes <= free_bytes(device)


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that is free, or kept by torch without use; 0 of other devices, the CPU among them: metrics need
    float64, and rows on the CPU stay there anyway."""
    if device.type != "cuda":
        return 0
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def moved(rows: ScoredRows, device: torch.device, place: Place) -> ScoredRows:
    """Returns a table of the host where its metrics are to be computed: on a device if that has room."""
    wanted = place == "auto" and has_room(sum(tensor.nbytes for tensor in rows.tensors()), device)
    return rows.to(device) if wanted else rows


def where_room_is(work: Callable[[ScoredRows], T], rows: ScoredRows) -> T:
    """Computes something of a table where it is, and on the host if a device runs out of memory over it."""
    try:
        return work(rows)
    except torch.OutOfMemoryError:
        if rows.row.device.type == "cpu":
            raise
    return work(rows.to("cpu"))
