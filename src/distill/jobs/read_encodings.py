"""Encodings of a dataset, of a checkpoint or of a bundle, to encode other data with. Only a checkpoint needs torch."""

from __future__ import annotations

from pathlib import Path

from distill.data.dataset import load_dataset
from distill.data.prepare import KnownEncodings
from distill.encodings import FittedEncodings, PackedEncodings
from distill.errors import DataError
from distill.schema import Schema
from distill.serving.manifest import is_bundle, read_manifest


def read_encodings(path: Path, grow: bool = False) -> KnownEncodings:
    """Reads the encodings that a prepared dataset, a checkpoint or a bundle carries.

    Raises:
        DataError: The path is none of them, or they are damaged.
    """
    if is_bundle(path):
        found = read_manifest(path)
        packed = PackedEncodings.read(path, found.encodings)
        return KnownEncodings(FittedEncodings.unpacked(packed), str(path), grow, _making(found.schema_of(path)))
    if path.is_dir():
        dataset = load_dataset(path)
        return KnownEncodings(
            FittedEncodings.load(path, dataset.manifest.encodings), str(path), grow, _making(dataset.schema)
        )
    if not path.is_file():
        raise DataError(
            "The encodings do not exist.",
            where=str(path),
            expected="a folder that scripts/prepare.py or scripts/export.py wrote, or a checkpoint",
            remedy="Check encodings.",
        )
    from distill.jobs.parts import read_card, without_encodings  # torch
    from distill.training.carried import carried
    from distill.training.checkpoint_io import read_checkpoint

    checkpoint = read_checkpoint(path)
    schema = read_card(checkpoint.get("distill"), path).schema
    encodings = carried(checkpoint, schema.fields, path)
    if encodings is None:
        raise without_encodings(path)
    return KnownEncodings(FittedEncodings.unpacked(encodings), str(path), grow, _making(schema))


def _making(schema: Schema) -> dict[str, str]:
    return {spec.name: spec.making for spec in schema.fields}
