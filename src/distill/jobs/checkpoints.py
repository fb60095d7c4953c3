"""Where the checkpoint of a run is."""

from __future__ import annotations

from pathlib import Path

BEST = Path("checkpoints") / "best.ckpt"


def checkpoint_of(path: Path) -> Path:
    """Returns a checkpoint: the path itself, or the best of the run whose folder it is."""
    return path / BEST if (path / BEST).is_file() else path
