"""What a run was: versions, revision, hashes, command."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from distill.data.files import write_text_atomic
from distill.data.format import Dataset
from distill.jobs.cache import content_key
from distill.jobs.parts import plain

MANIFEST_FILE = "manifest.json"
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
    write_text_atomic(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))


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
