"""A checkpoint carries the encodings of the fields that its model reads, by content: it needs no dataset beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distill.encodings import PackedEncodings, SavedEncodings, verified
from distill.errors import DataError
from distill.schema import FieldSpec

ENCODINGS = "distill_encodings"
"""Key of a checkpoint: `saved`, JSON text, and `files`, path to uint8 tensor."""


def as_carried(packed: PackedEncodings) -> dict[str, Any]:
    """Returns what a checkpoint holds of encodings: text and tensors."""
    files = {name: torch.from_numpy(np.frombuffer(content, np.uint8).copy()) for name, content in packed.files.items()}
    return {"saved": packed.saved.model_dump_json(), "files": files}


def carried(checkpoint: Mapping[str, Any], fields: Sequence[FieldSpec], path: Path) -> PackedEncodings | None:
    """Returns the encodings of a model's fields from a checkpoint; None from one that was written before it had any.

    Args:
        checkpoint: As read, with tensors.
        fields: That the model reads.
        path: Of the checkpoint, for errors.

    Raises:
        DataError: They are damaged, or not those of the fields.
    """
    found, where = checkpoint.get(ENCODINGS), f"{path}: {ENCODINGS}"
    if found is None:
        return None
    if not isinstance(found, Mapping) or not isinstance(found.get("saved"), str):
        raise DataError("The encodings of a model are damaged.", where=where, expected="saved and files")
    saved = SavedEncodings.parse(found["saved"], where).of(fields)
    for spec in fields:
        known = saved.knows(spec)
        if not known or (spec.has_size and saved.size_of(spec) != spec.size):
            raise DataError(
                "The encodings of a model are not those of its fields.",
                where=f"{where}, field {spec.name!r}",
                expected=f"an encoding of table {spec.table!r} of size {spec.size}",
                found=f"one of size {saved.size_of(spec)}" if known else "none",
                remedy="Use another checkpoint, or train again.",
            )
    files = found.get("files")
    contents = files if isinstance(files, Mapping) else {}
    return PackedEncodings(
        saved, {name: verified(_content(contents.get(name)), digest, where) for name, digest in saved.files.items()}
    )


def _content(tensor: Any) -> bytes:
    if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.uint8:
        return b""  # which has no vocabulary's hash
    content: bytes = tensor.cpu().numpy().tobytes()
    return content
