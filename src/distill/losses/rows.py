"""Which rows a loss term acts on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from distill.batch import Batch, Origin, Stage, TeacherSignals
from distill.errors import ConfigError, SignalError

_Selector = Callable[[Batch, TeacherSignals | None], Tensor]


def _all(batch: Batch, signals: TeacherSignals | None) -> Tensor:
    return batch.weight > 0


def _unexposed(batch: Batch, signals: TeacherSignals | None) -> Tensor:
    return batch.stage != Stage.EXPOSED


def _pseudo(batch: Batch, signals: TeacherSignals | None) -> Tensor:
    return (batch.origin == Origin.PSEUDO_POSITIVE) | (batch.origin == Origin.PSEUDO_NEGATIVE)


def _sampled(batch: Batch, signals: TeacherSignals | None) -> Tensor:
    return (batch.origin == Origin.RANDOM_NEGATIVE) | (batch.origin == Origin.IN_BATCH_NEGATIVE)


def _scored(batch: Batch, signals: TeacherSignals | None) -> Tensor:
    if signals is None:
        raise SignalError(
            "A loss term acts on scored rows, but the batch came without teacher signals.",
            expected="teacher signals at every step",
            remedy="Configure a teacher, or let the term act on other rows.",
        )
    return signals.valid


def _at(stage: Stage) -> _Selector:
    return lambda batch, signals: batch.stage == stage


_SELECTORS: dict[str, _Selector] = {
    "all": _all,
    "exposed": _at(Stage.EXPOSED),
    "ranked": _at(Stage.RANKED),
    "preranked": _at(Stage.PRERANKED),
    "recalled": _at(Stage.RECALLED),
    "unexposed": _unexposed,
    "scored": _scored,
    "pseudo": _pseudo,
    "sampled": _sampled,
}


def parse_rows(rows: str | Sequence[str], where: str) -> tuple[str, ...]:
    """Checks the names of row selectors.

    Args:
        rows: One name or several, of: `all`; `exposed`, `ranked`, `preranked`, `recalled` (rows that ended at exactly
            that stage); `unexposed`; `scored` (the teacher scored the row); `pseudo` (the teacher made the
            label); `sampled` (a rule added the row).
        where: Config key, for the error.

    Returns:
        The names.

    Raises:
        ConfigError: If a name is unknown or there is none.
    """
    names = (rows,) if isinstance(rows, str) else tuple(rows) if isinstance(rows, Sequence) else (rows,)
    unknown = [name for name in names if not isinstance(name, str) or name not in _SELECTORS]
    if unknown or not names:
        raise ConfigError(
            "A loss term names rows that do not exist.",
            where=where,
            expected="one or more of " + ", ".join(_SELECTORS),
            found=", ".join(map(repr, unknown)) or "an empty list",
        )
    return names


def select_rows(names: Sequence[str], batch: Batch, signals: TeacherSignals | None) -> Tensor:
    """Selects the rows that any of the names describes.

    Rows of weight 0 (padding) are never selected.

    Args:
        names: Checked names of row selectors.
        batch: N rows.
        signals: Teacher signals of the batch, needed by `scored`.

    Returns:
        `[N]` bool.

    Raises:
        SignalError: If `scored` is asked for and there are no signals.
    """
    selected = _SELECTORS[names[0]](batch, signals)
    for name in names[1:]:
        selected = selected | _SELECTORS[name](batch, signals)
    return selected & (batch.weight > 0)
