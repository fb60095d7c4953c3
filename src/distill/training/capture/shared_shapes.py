"""Batches of one shape on all ranks, so that these record and replay the same steps."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from distill.batch import Batch, TensorStruct
from distill.ops.hosts import Hosts
from distill.ops.ranks import world_size
from distill.training.capture.padding import Sizes, padded


def padded_alike(batch: Batch, hosts: Hosts) -> Batch:
    """Pads a batch as `padded` does, from the greatest sizes of all ranks on, which the hosts tell each other.

    Args:
        batch: As a step takes it (`Batch.is_ready`).
        hosts: Those of all ranks, each of which pads a batch.

    Returns:
        The batch, of the same shape on each rank. It stays as it is, without a `Batch.padding`, on all ranks if that
        cannot be: if one has no candidate, or no value of a sequence, where another has some: there is no row that
        could be copied.
    """
    if world_size() == 1:
        return padded(batch)
    own = Sizes.of(batch)
    numbers = [*own.numbers(), zlib.crc32(repr(list(_kinds("", batch, batch.on_host))).encode())]
    found = hosts.greatest([*numbers, *(-number for number in numbers)])
    most, least = found[: len(numbers)], [-number for number in found[len(numbers) :]]
    of_rows = list(zip(least, most, strict=True))[: own.num_of_rows]
    if most[-1] != least[-1] or any((low > 0) != (high > 0) for low, high in of_rows):
        return batch
    return padded(batch, own.at_most(most[:-1], least[0]))


def _kinds(name: str, value: Any, left_out: tuple[str, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Tells a batch from those with other fields: names, types and widths."""
    if isinstance(value, Tensor):
        yield name, str(value.dtype), *value.shape[1:]
    elif isinstance(value, TensorStruct | Mapping):
        for key, item in (value if isinstance(value, Mapping) else vars(value)).items():
            if key not in left_out:
                yield from _kinds(f"{name}.{key}", item)
    elif value is None:
        yield (name,)
