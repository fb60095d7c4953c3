"""KuaiVideo_x1: micro-videos of Kuaishou with what users clicked and passed over before; train and test given apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.data.datasets.archives.source import Written
from distill.data.datasets.archives.tables import archive_file

_ARCHIVE = "KuaiVideo_x1 of reczoo (made of the China MM 2018 competition's data with the split of ALPINE)"


@dataclass(frozen=True)
class KuaiVideo:
    """`train.csv` and `test.csv` of KuaiVideo_x1, which are read as they are.

    A row is a video whose thumbnail a user saw. `pos_items` and `neg_items` are up to 100 videos that the user clicked
    and passed over before it, joined by `^`. Times say the order alone. The vectors of thumbnails
    (`item_visual_emb_dim64.h5`) are left out: HDF5 is not read here.
    """

    name = "kuaivideo"
    apart = ("test",)

    def columns(self) -> Sequence[str]:
        """The eight columns of both."""
        return ["timestamp", "user_id", "item_id", "is_click", "is_like", "is_follow", "pos_items", "neg_items"]

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds both files."""
        return [archive_file(folder, name, _ARCHIVE) for name in ("train.csv", "test.csv")]

    def write(self, folder: Path, directory: Path) -> Written:
        """Finds both files; nothing is converted."""
        train, test = self.files(folder)
        return Written((train,), {"test": (test,)})
