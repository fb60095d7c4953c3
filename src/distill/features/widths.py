"""Widths of embeddings that follow from how many ids there are."""

from __future__ import annotations

from distill.schema import FieldSpec, Schema

_STEP = 4  # processors and TorchRec like multiples of 4


def width_of(size: int, most: int) -> int:
    """Returns the smallest multiple of 4 that is no less than the fourth root of a number of ids, but `most` at most.

    Reference: the rule of thumb of TensorFlow Team, "Introducing TensorFlow Feature Columns", 2017.
    """
    width = _STEP
    while width**4 < size and width < most:
        width += _STEP
    return min(width, most)


def with_widths(schema: Schema, most: int) -> Schema:
    """Returns a prepared schema whose id fields without a width of their own have the one that follows from the size of
    their table; `most` at most."""

    def of(spec: FieldSpec) -> FieldSpec:
        if not spec.encoding.makes_ids or spec.embedding_dim is not None or spec.size is None:
            return spec
        return spec.model_copy(update={"embedding_dim": width_of(spec.size, most)})

    return schema.model_copy(update={"fields": tuple(of(spec) for spec in schema.fields)})
