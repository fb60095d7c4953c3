"""Errors that say where, what was expected, what was found and what to do."""

from __future__ import annotations

import re

# An argument of a part, or several, or the part and its argument: `cutoff`, `HardBCE.tasks`.
_RELATIVE = re.compile(r"[a-z_]\w*(, [a-z_]\w*)*|[A-Z]\w*(\.\w+)?(, [A-Z]\w*\.\w+)*")


class DistillError(Exception):
    """An error in something the user gave us: data, schema, config or files.

    The command-line tools print it without a traceback and exit with status 2.

    Args:
        problem: One sentence that says what is wrong.
        where: Place of the problem (file, row group, column, field, config key).
        expected: What would have been right.
        found: What was there instead.
        remedy: What the user can do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem = problem
        self.where = where
        self.expected = expected
        self.found = found
        self.remedy = remedy
        parts = {"where": where, "expected": expected, "found": found, "remedy": remedy}
        lines = [problem, *(f"  {name + ':':<10}{text}" for name, text in parts.items() if text)]
        super().__init__("\n".join(lines))

    def within(self, key: str) -> DistillError:
        """Returns the same error with the key of the part that raised it, if it names its own argument or nothing."""
        if self.where is not None and not _RELATIVE.fullmatch(self.where):
            return self
        where = key if self.where is None else f"{key} ({self.where})"
        return type(self)(
            self.problem, where=where, expected=self.expected, found=self.found, remedy=self.remedy
        ).with_traceback(self.__traceback__)


class SchemaError(DistillError):
    """A `schema.yaml` that is malformed or contradicts itself."""


class DataError(DistillError):
    """A data file that does not hold what the schema says."""


class SignalError(DistillError):
    """Teacher signals that are missing or belong to another dataset or teacher."""


class ConfigError(DistillError):
    """A configuration that asks for something impossible or contradictory."""


class RankError(DistillError):
    """A process of a run that died and took the others with it."""
