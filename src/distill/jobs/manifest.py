"""What a run was: versions, revision, hashes, command."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from distill.data.files import write_text_atomic
from distill.data.format import Dataset
from distill.errors import DataError
from distill.jobs.cache import content_key
from distill.jobs.parts import plain
from distill.plain import plain_data
from distill.schema.plain_yaml import read_yaml

MANIFEST_FILE = "manifest.json"
CONFIG_FILE = "config.yaml"
_PACKAGES = (
    "distill-ranker",
    "torch",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "pyarrow",
    "numpy",
    "tensorboard",
)


def write_manifest(folder: Path, cfg: DictConfig, dataset: Dataset) -> None:
    """Writes `manifest.json` and the resolved `config.yaml` into a run folder."""
    content = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "git": _git_revision(),
        "dataset": {"root": str(dataset.root), "fingerprint": dataset.fingerprint},
        "config_hash": content_key(plain(cfg)),
    }
    write_text_atomic(folder / MANIFEST_FILE, json.dumps(content, indent=2) + "\n")
    write_text_atomic(folder / CONFIG_FILE, OmegaConf.to_yaml(cfg, resolve=True))


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the resolved config of a run folder as plain data: nothing in it is resolved or built.

    Raises:
        DataError: It is missing, damaged, or holds anything else.
    """
    path = folder / CONFIG_FILE
    try:
        found = plain_data(read_yaml(path.read_text(encoding="utf-8")), str(path))
    except FileNotFoundError as error:
        raise DataError(
            "The folder holds no config of a run.", where=str(path), remedy="Name the folder of a run of train.py."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise DataError("The config of the run is damaged.", where=str(path), found=str(error)[:300]) from error
    if not isinstance(found, dict):
        raise DataError("The config of the run is damaged.", where=str(path), found=type(found).__name__)
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git_revision() -> str:
    """Returns the revision of the working folder, with `-dirty` if it has uncommitted changes; empty outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
