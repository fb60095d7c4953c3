"""Checkpoints appear whole or not at all, and loading one executes no code."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from distill.errors import DataError
from distill.files import atomic_file, remove_leftovers


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside, syncs to disk and renames; reads plain tensors and plain data only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Writes a checkpoint; a kill or a full disk on the way leaves the previous file."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target)  # of a process that was killed while it wrote
        try:
            with atomic_file(target) as beside, beside.open("wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            free = shutil.disk_usage(target.parent).free
            raise DataError(
                "A checkpoint cannot be written; the previous one is intact.",
                where=str(target),
                expected=f"room for about {_bytes(checkpoint):,} bytes",
                found=f"{str(error).splitlines()[0][:200]}; {free:,} bytes are free",
                remedy="Free some space or choose another folder (paths.runs, paths.cache), then resume.",
            ) from error

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """Reads a checkpoint without unpickling objects."""
        return read_checkpoint(Path(path), map_location)


def _bytes(value: Any) -> int:
    """Counts the bytes of all tensors below a value."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return sum(_bytes(item) for item in items)


def read_checkpoint(path: Path, map_location: Any = "cpu") -> Mapping[str, Any]:
    """Reads a checkpoint: tensors and plain data only.

    Raises:
        DataError: The file is missing, damaged, or holds anything else.
    """
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError as error:
        raise DataError("The checkpoint does not exist.", where=str(path), remedy="Check the path.") from error
    except IsADirectoryError as error:
        raise DataError(
            "A folder is not a checkpoint.",
            where=str(path),
            expected="a file, or a run folder, which has checkpoints/best.ckpt",
            found="a folder without one",
            remedy="Check the path, or whether the run ended.",
        ) from error
    except Exception as error:  # torch raises anything from UnpicklingError to EOFError on damaged files
        raise DataError(
            "The checkpoint is damaged or holds more than tensors and plain data.",
            where=str(path),
            found=str(error).splitlines()[0][:200],
            remedy="Use another checkpoint, or train again.",
        ) from error
    if not isinstance(checkpoint, Mapping) or "state_dict" not in checkpoint:
        raise DataError("The file is not a training checkpoint.", where=str(path), expected="a `state_dict`")
    return checkpoint
