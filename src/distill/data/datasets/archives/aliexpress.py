"""AliExpress: searches of one country with their clicks and purchases, train and test given apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.data.datasets.archives.source import Written
from distill.data.datasets.archives.tables import archive_file

_ARCHIVE = "AliExpress_NL, _ES, _FR, _US or _RU of the AliExpress search data"
_CATEGORIES = [f"categorical_{i}" for i in range(1, 17)]
_NUMBERS = [f"numerical_{i}" for i in range(1, 64)]


@dataclass(frozen=True)
class AliExpress:
    """`train.csv` and `test.csv` of a country, which number their searches anew; they are read as they are.

    `train` and `test` are the names of the files.
    """

    train: str = "train.csv"
    test: str = "test.csv"

    name = "aliexpress"
    apart = ("test",)

    def columns(self) -> Sequence[str]:
        """The 82 columns of both."""
        return ["search_id", *_CATEGORIES, *_NUMBERS, "click", "conversion"]

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds both files."""
        return [archive_file(folder, name, _ARCHIVE) for name in (self.train, self.test)]

    def write(self, folder: Path, directory: Path) -> Written:
        """Finds both files; nothing is converted."""
        train, test = self.files(folder)
        return Written((train,), {"test": (test,)})
