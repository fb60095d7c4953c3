"""Writes down and opens a dataset; what it says of itself is compared with what is there."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from distill.data.format import FORMAT_VERSION, MANIFEST_FILE, SCHEMA_FILE, Dataset, Manifest, content_fingerprint
from distill.encodings.saved import SavedEncodings
from distill.errors import DataError
from distill.places.opened import size_of
from distill.schema import Schema, load_schema
from distill.sealed import OtherVersion, read_sealed, write_sealed

_VERSION = "format_version"


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Writes `manifest.json`, the last file of a dataset."""
    write_sealed(root / MANIFEST_FILE, json.loads(manifest.model_dump_json()))


def load_dataset(root: Path) -> Dataset:
    """Opens a dataset: its manifest, its schema and the sizes of its files are those that were written.

    What is in the part files is checked where they are read.

    Raises:
        DataError: The folder is not a dataset of this version, or something in it is not what was written.
    """
    manifest = _read_manifest(root)
    dataset = Dataset(root, _read_schema(root, manifest), manifest)
    for part in dataset.all_parts:
        file = root / part.path
        size = size_of(file)
        if size != part.bytes:
            raise DataError(
                "A part file does not match the manifest.",
                where=str(file),
                expected=f"{part.bytes} bytes",
                found="no file" if size is None else f"{size} bytes",
                remedy="Prepare the data again.",
            )
    _check_sizes(dataset.schema, manifest.encodings, root)
    return dataset


def _read_manifest(root: Path) -> Manifest:
    path = root / MANIFEST_FILE
    try:
        return Manifest.model_validate(read_sealed(path, (_VERSION, FORMAT_VERSION)))
    except FileNotFoundError as error:
        raise DataError(
            "This folder is not a prepared dataset.",
            where=str(root),
            expected=f"{MANIFEST_FILE} and {SCHEMA_FILE}",
            remedy="Run scripts/prepare.py first.",
        ) from error
    except OtherVersion as error:
        raise DataError(
            "This dataset was prepared by another version of distill.",
            where=str(path),
            expected=f"{_VERSION} {FORMAT_VERSION}",
            found=str(error),
            remedy="Prepare the data again (scripts/prepare.py), from the raw data and into another folder.",
        ) from error
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(
            "The manifest is damaged.",
            where=str(path),
            found=str(error).splitlines()[0],
            remedy="Prepare the data again.",
        ) from error


def _read_schema(root: Path, manifest: Manifest) -> Schema:
    """Reads the schema that the fingerprint was computed from."""
    path = root / SCHEMA_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "The schema of a prepared dataset cannot be read.",
            where=str(path),
            found=str(error).splitlines()[0],
            remedy="Prepare the data again.",
        ) from error
    found = content_fingerprint(text, manifest.encodings, {**dict(manifest.splits.items()), "items": manifest.items})
    if found != manifest.fingerprint:
        raise DataError(
            "The schema differs from the one that the data was prepared with.",
            where=str(path),
            expected=f"the text that makes the fingerprint {manifest.fingerprint}",
            found=f"one that makes {found}",
            remedy="Restore the file. To change a field or a task, change your own schema and prepare the data again.",
        )
    return load_schema(path)


def _check_sizes(schema: Schema, encodings: SavedEncodings, root: Path) -> None:
    """Compares the tables of the schema with the encodings that made the ids, and bins with those of the encodings."""
    for field in schema.fields:
        if not field.has_size:
            continue
        size = encodings.size_of(field) if encodings.knows(field) else None
        if size is None or field.size != size:
            raise DataError(
                "A field has another number of ids or bins than its encoding.",
                where=f"{root / SCHEMA_FILE}, field {field.name!r}",
                expected="an encoding of it in the manifest" if size is None else f"size: {size}",
                found=f"size: {field.size}",
                remedy="Prepare the data again.",
            )
