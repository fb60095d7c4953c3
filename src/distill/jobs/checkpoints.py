"""Where the checkpoint of a run is, and what says which model a path holds."""

from __future__ import annotations

from pathlib import Path

from distill.serving.manifest import MANIFEST

BEST = Path("checkpoints") / "best.ckpt"


def checkpoint_of(path: Path) -> Path:
    """Returns a checkpoint: the path itself (a bundle is a folder), or the best of the run whose folder it is."""
    return path / BEST if (path / BEST).is_file() else path


def file_of_model(path: Path) -> Path:
    """Returns the file whose content says which model it is: a checkpoint itself, or the manifest of a bundle, which
    holds the hashes of its other files."""
    return path / MANIFEST if path.is_dir() else path
