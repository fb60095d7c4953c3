"""What arguments of commands without a config take."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from distill.jobs.override_text import for_hydra
from distill.places.uri import is_uri, local_text


def path_here(text: str) -> Path:
    """Reads a path of this machine.

    Raises:
        ArgumentTypeError: It is a URI.
    """
    if is_uri(local_text(text)):
        raise argparse.ArgumentTypeError(f"a path of this machine is needed, not {text!r}")
    return Path(local_text(text))


def source_here(text: str) -> str:
    """Reads a file, a folder or a pattern of this machine.

    Raises:
        ArgumentTypeError: It is a URI.
    """
    path_here(text)
    return local_text(text)


def with_overrides(parser: argparse.ArgumentParser, given: Sequence[str] | None) -> argparse.Namespace:
    """Reads a command line whose other arguments are overrides of a config, `overrides` of the result; exits with an
    error if one of them is an option that there is not."""
    options, overrides = parser.parse_known_args(given)
    unknown = [name for name in overrides if name.startswith("-")]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    options.overrides = [*map(for_hydra, overrides)]
    return options
