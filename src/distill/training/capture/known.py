"""Which of the numbers that the host knows of a batch a step computes with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from distill.batch import Batch, FeatureBlock


@dataclass(frozen=True)
class KnownSizes:
    """What is read, by what the parts of a model and a loss declare; the rest would tell shapes apart for nothing.

    Attributes:
        lists: Whether pairs of lists are laid out (`over_pairs`).
        positives: Whether positives are (`counts_positives`).
        seen: Whether values that candidates see are (`pairs_values`).
    """

    lists: bool
    positives: bool
    seen: bool

    @classmethod
    def of(cls, module: nn.Module) -> KnownSizes:
        """Asks all parts of a module."""
        names = ("over_pairs", "counts_positives", "pairs_values")
        parts = list(module.modules())
        return cls(*(any(getattr(part, name, False) for part in parts) for name in names))

    def only(self, batch: Batch) -> Batch:
        """Returns a batch without the other numbers: who reads one and does not say so waits for the device."""
        sizes = batch.sizes if self.lists or self.positives else None
        if sizes is not None and not self.positives:
            sizes = sizes.with_positives(None)
        return replace(batch, sizes=sizes, request=batch.request if self.seen else _not_seen(batch.request))

    def lacks(self, batch: Batch) -> bool:
        """Says whether one of the numbers is not known."""
        ragged = batch.request.sequences.values()
        return (
            ((self.lists or self.positives) and batch.sizes is None)
            or (self.positives and batch.sizes is not None and batch.sizes.positives is None)
            or (self.seen and any(sequence.seen is None for sequence in ragged))
        )


def _not_seen(block: FeatureBlock) -> FeatureBlock:
    return replace(block, sequences={name: replace(value, seen=None) for name, value in block.sequences.items()})
