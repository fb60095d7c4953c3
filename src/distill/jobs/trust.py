"""Whose classes a model may be made of: those of this package, of torch.nn, and of packages that the command trusts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_OWN = ("distill.models", "distill.features", "distill.layers", "torch.nn")
_trusted: tuple[str, ...] = ()


@contextmanager
def trusting(packages: Sequence[str]) -> Iterator[None]:
    """Within the block, models may be made of classes of these packages too.

    A command says so (`trusted=[mypackage]`), never a file: a checkpoint that names another package is refused before
    anything of it is imported.
    """
    global _trusted
    before, _trusted = _trusted, tuple(packages)
    try:
        yield
    finally:
        _trusted = before


def trusted() -> tuple[str, ...]:
    """Returns the packages whose classes a model may be made of."""
    return (*_OWN, *_trusted)


def is_trusted(module: str) -> bool:
    """Whether a module is one of these packages, or in one."""
    return any(f"{module}.".startswith(f"{package}.") for package in trusted())
