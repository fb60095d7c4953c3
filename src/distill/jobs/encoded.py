"""Whether the ids of a dataset mean what a model learnt them to mean."""

from __future__ import annotations

from pathlib import Path

from distill.data.format import Dataset
from distill.encodings import differing
from distill.errors import SignalError
from distill.jobs.parts import LoadedModel


def check_encodings(loaded: LoadedModel, path: Path, dataset: Dataset) -> None:
    """Refuses a model for a dataset that is encoded in another way; on which day it was trained does not matter.

    Args:
        loaded: The model.
        path: Its checkpoint.
        dataset: What it is to score.

    Raises:
        SignalError: A field that it reads is not in the dataset, or has other encodings there.
    """
    if loaded.dataset == dataset.fingerprint:
        return
    if loaded.encodings is None:
        raise SignalError(
            "The checkpoint does not carry its encodings, and it was trained on another dataset.",
            where=str(path),
            expected=f"dataset {dataset.fingerprint} ({dataset.root})",
            found=f"dataset {loaded.dataset}",
            remedy="Train the model again: since then checkpoints carry what their ids mean.",
        )
    fields, schema = loaded.schema.fields, dataset.schema
    others = differing(fields, loaded.encodings.saved, schema.fields, dataset.manifest.encodings)
    if others:
        known = {f.name for f in schema.fields}
        missing = [name for name in others if name not in known]
        raise SignalError(
            "The model reads fields that the dataset lacks."
            if missing
            else "The dataset is encoded in another way than the model's: its ids and numbers mean other things.",
            where=f"{path}, {dataset.root}",
            expected="the encodings of the checkpoint",
            found=f"other fields or encodings: {', '.join(missing or others)}",
            remedy=f"Prepare the data with the model's encodings: scripts/prepare.py … encodings={path}",
        )
