"""Where the package's configs are: inside it once it is installed, at the root of the repository before."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def conf_folder() -> Path:
    """Returns the folder of the configs: the wheel's copy, or that of the repository that the package is run from."""
    installed = _PACKAGE / "conf"
    return installed if installed.is_dir() else _PACKAGE.parents[1] / "conf"
