"""The service as a program: python -m distill.service, scripts/serve.py, distill serve."""

from __future__ import annotations

import sys

from distill.errors import DistillError
from distill.service.options import arguments
from distill.service.supervisor import run

__all__ = ["main", "run"]

_WRONG = 2


def main() -> None:
    """Serves as the command line says; an error of the user's making is its message and status 2."""
    try:
        run(arguments())
    except DistillError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(_WRONG)
