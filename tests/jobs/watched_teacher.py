"""Runs train.py and writes what this rank made of the teacher: python watched_teacher.py FOLDER arguments…

FOLDER gets `maps_RANK.pt`, the points of the calibration of each task, and `written.txt`, a line `RANK SPLIT` for each
time that a rank wrote a split of an ensemble.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from distill.jobs import ensemble, teacher
from distill.ops.ranks import rank

ROOT = Path(__file__).parents[2]


def arm(folder: Path) -> None:
    calibrated, write_split = teacher.calibrated, ensemble._write_split

    def watched_calibrated(*args: Any) -> Any:
        signals = calibrated(*args)
        maps = {name: (m.x, m.y) for name, m in signals.source.maps.items()}
        torch.save(maps, folder / f"maps_{rank()}.pt")
        return signals

    def watched_write(*args: Any) -> Iterator[tuple[str, Path]]:
        with (folder / "written.txt").open("a") as file:
            file.write(f"{rank()} {args[3]}\n")
        return write_split(*args)

    teacher.calibrated, ensemble._write_split = watched_calibrated, watched_write


if __name__ == "__main__":
    arm(Path(sys.argv[1]))
    sys.argv = [str(ROOT / "train.py"), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
