"""Batches and signals as plain data, for the file of a step that a run leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from distill.batch import Batch, FeatureBlock, Ragged, TeacherSignals, TensorStruct
from distill.errors import DataError
from distill.list_sizes import ListSizes


def to_plain(value: Any) -> Any:
    """Turns a batch or signals into nested dicts of tensors, which load with `weights_only`; without what lies around
    them in memory, which a file would hold too."""
    if isinstance(value, TensorStruct | ListSizes):
        return {name: to_plain(item) for name, item in vars(value).items()}
    if isinstance(value, dict):
        return {name: to_plain(item) for name, item in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


def read_batch(saved: Any, path: Path) -> Batch:
    """Undoes `to_plain` of a batch.

    Args:
        saved: What a file holds.
        path: The file, for errors.

    Raises:
        DataError: It is not a batch.
    """
    try:
        return _batch(saved)
    except (TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, "a batch", error) from error


def read_signals(saved: Any, path: Path) -> TeacherSignals | None:
    """Undoes `to_plain` of signals, if there were any; see `read_batch`."""
    try:
        return _signals(saved)
    except (TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, "signals", error) from error


def _unreadable(path: Path, what: str, error: Exception) -> DataError:
    found = f"{type(error).__name__}: {error}"[:300]
    return DataError(f"The file does not hold {what}.", where=str(path), found=found)


def _batch(saved: Mapping[str, Any]) -> Batch:
    blocks = {side: _block(saved[side]) for side in ("request", "candidate", "cross")}
    sizes = saved.get("sizes")  # older files have none
    others = {"signals": _signals(saved["signals"]), "sizes": None if sizes is None else ListSizes(**sizes)}
    return Batch(**{**saved, **blocks, **others})


def _block(saved: Mapping[str, Any]) -> FeatureBlock:
    sequences = {name: Ragged(**value) for name, value in saved["sequences"].items()}
    return FeatureBlock(**{**saved, "sequences": sequences})


def _signals(saved: Mapping[str, Any] | None) -> TeacherSignals | None:
    return None if saved is None else TeacherSignals(**saved)
