"""Keys of two raw columns that are compared: text in both, or numbers in both."""

from __future__ import annotations

from dataclasses import dataclass

from distill.data.prepare.source import RawFiles
from distill.encodings.alike import kind_of_ids, not_alike


@dataclass(frozen=True)
class KeyColumn:
    """A column of keys.

    Attributes:
        files: That have it.
        column: Its name.
        purpose: What it is used for, for errors.
    """

    files: RawFiles
    column: str
    purpose: str

    def kinds(self) -> list[tuple[str, str]]:
        """Returns what its keys are made of and where, of each file in which they are not all null."""
        files = [(kind_of_ids(file.schema.field(self.column).type), file.path) for file in self.files.files]
        return [(kind, f"{path}, column {self.column!r} ({self.purpose})") for kind, path in files if kind]


def check_one_type(problem: str, keys: KeyColumn, others: KeyColumn) -> None:
    """Refuses keys of another type than those that they are compared with: none would be found.

    Args:
        problem: A sentence that says so of these keys.
        keys: That are looked for.
        others: Among which.

    Raises:
        DataError: They are.
    """
    wanted = others.kinds()
    for found, where in keys.kinds():
        if wanted and found not in {kind for kind, _ in wanted}:
            raise not_alike(problem, where, found, *wanted[0], (keys.column, others.column))
