"""The tokenizers that a schema names beside its file."""

from __future__ import annotations

from pathlib import Path

from distill.schema import FieldSpec, Schema


def tokenized(schema: Schema) -> list[FieldSpec]:
    """Lists the fields whose text is cut by a tokenizer."""
    return [spec for spec in schema.fields if spec.tokens is not None and spec.tokens.tokenizer is not None]


def with_tokenizers(schema: Schema, folder: Path) -> Schema:
    """Returns a schema with the paths of its tokenizers taken relative to a folder, that of its file."""
    if not tokenized(schema):
        return schema
    return schema.model_copy(update={"fields": tuple(_with_tokenizer(spec, folder) for spec in schema.fields)})


def _with_tokenizer(spec: FieldSpec, folder: Path) -> FieldSpec:
    if spec.tokens is None or spec.tokens.tokenizer is None:
        return spec
    path = str(folder / Path(spec.tokens.tokenizer).expanduser())
    return spec.model_copy(update={"tokens": spec.tokens.model_copy(update={"tokenizer": path})})
