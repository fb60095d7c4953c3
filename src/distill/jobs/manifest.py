"""What a run was: its config, versions, revision, hashes, commands."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from distill.data.format import Dataset
from distill.errors import DataError
from distill.files import write_text_atomic
from distill.jobs.identity import config_hash, given_files
from distill.jobs.program import command_line
from distill.ops.ranks import world_size
from distill.places.mirror import named
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


@dataclass(frozen=True)
class RunRecord:
    """What a run folder says of its run.

    Attributes:
        config: The resolved config, as plain data: nothing in it is resolved or interpolated again.
        manifest: Of its beginning; `resumed` lists how it went on.
    """

    config: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        """Fingerprint of the dataset."""
        return str(self.manifest["dataset"]["fingerprint"])

    @property
    def teachers(self) -> Mapping[str, str]:
        """Hashes of the teachers that it was given as files, by key of the config."""
        return {str(key): str(value) for key, value in dict(self.manifest["teachers"]).items()}

    @property
    def chosen(self) -> Mapping[str, Any]:
        """Keys of the config that were `auto`, with what was chosen for them."""
        return dict(self.manifest.get("auto", {}))

    def number(self, key: str) -> int:
        """Returns a whole number of the config.

        Raises:
            DataError: The config has none there.
        """
        return int(self._of_kind(key, int))

    def text(self, key: str) -> str:
        """Returns a text of the config.

        Raises:
            DataError: The config has none there.
        """
        return str(self._of_kind(key, str))

    def _of_kind(self, key: str, kind: type[int] | type[str]) -> Any:
        found: Any = self.config
        for name in key.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if type(found) is not kind:
            raise _unusable(Path(CONFIG_FILE), f"{key}: {found!r}"[:200])
        return found

    @property
    def processes(self) -> int:
        """Number of processes that it began with."""
        return int(self.manifest["processes"])


def read_record(folder: Path) -> RunRecord:
    """Reads what a run folder says of its run.

    Raises:
        DataError: One of the files is missing or damaged.
    """
    config, manifest = read_config(folder), _read(folder / MANIFEST_FILE, json.loads)
    dataset, teachers = manifest.get("dataset"), manifest.get("teachers")
    known = isinstance(dataset, Mapping) and isinstance(dataset.get("fingerprint"), str)
    if not known or not isinstance(teachers, Mapping) or type(manifest.get("processes")) is not int:
        raise _unusable(folder / MANIFEST_FILE, "no dataset.fingerprint, teachers or processes")
    return RunRecord(config, manifest)


def write_record(
    folder: Path, composed: DictConfig, cfg: DictConfig, dataset: Dataset, chosen: Mapping[str, int | str]
) -> None:
    """Writes the resolved `config.yaml` and `manifest.json` into a run folder. Of a run that goes on, how it began
    stays, and how it goes on is added under `resumed`.

    Args:
        folder: Of the run.
        composed: The config with its interpolations.
        cfg: The same without, and with values in place of `auto`.
        dataset: What is trained on.
        chosen: The keys that were `auto`, with their values.
    """
    start = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command_line(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "git": _git_revision(),
        "processes": world_size(),
    }
    content = {
        **start,
        "dataset": {"root": named(str(dataset.root)), "fingerprint": dataset.fingerprint},
        "teachers": given_files(cfg),
        "config_hash": config_hash(composed),
        **({"auto": dict(chosen)} if chosen else {}),
    }
    if cfg.resume is not None:
        before = read_record(folder).manifest
        content = {**content, **{name: before.get(name) for name in start}}
        content["resumed"] = [*before.get("resumed", []), start]
    write_text_atomic(folder / CONFIG_FILE, named(OmegaConf.to_yaml(cfg, resolve=True)))
    write_text_atomic(folder / MANIFEST_FILE, json.dumps(content, indent=2) + "\n")  # last: a run has begun


def read_config(folder: Path) -> dict[str, Any]:
    """Reads the resolved config of a run folder as plain data: nothing in it is resolved or built.

    Raises:
        DataError: It is missing, damaged, or holds anything else.
    """
    path = folder / CONFIG_FILE
    found: dict[str, Any] = plain_data(_read(path, read_yaml), str(path))
    return found


def _read(path: Path, parse: Any) -> Mapping[str, Any]:
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _unusable(path, "no such file") from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise _unusable(path, (str(error).splitlines() or [type(error).__name__])[0][:200]) from error
    if not isinstance(found, Mapping):
        raise _unusable(path, type(found).__name__)
    return found


def _unusable(path: Path, found: str) -> DataError:
    return DataError(
        "The folder does not contain the record of its run.",
        where=str(path),
        expected="the file that a run of train.py wrote when it began",
        found=found,
        remedy="Name the folder of a run, put the file back, or start a new run (without resume).",
    )


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
