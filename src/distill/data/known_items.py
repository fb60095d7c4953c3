"""Which items the encodings of a model know."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.encodings import FittedEncodings
from distill.encodings.id_values import to_keys
from distill.encodings.place import Place
from distill.encodings.tables import FittedVocabulary
from distill.schema import Kind, Schema, Side


def known_items(schema: Schema, encodings: FittedEncodings) -> Tensor | None:
    """Returns the keys of the items that a field of the item key has an id for `[M]`; None without such a field.

    Args:
        schema: Names the item key and the fields.
        encodings: Of the fields.
    """
    for spec in schema.side(Side.CANDIDATE):
        table = encodings.tables.get(spec.table) if spec.kind is Kind.ID else None
        if spec.column == schema.keys.item and isinstance(table, FittedVocabulary):
            keys, _ = to_keys(table.values, Place(spec.column, "keys.item"))
            return torch.from_numpy(keys.copy())
    return None
