"""Whatever file a run is given, nothing in it is executed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from distill.errors import ConfigError, DistillError
from distill.files import hash_file
from distill.jobs.node import build
from distill.jobs.parts import load_model
from distill.jobs.replay import replay
from distill.schema import load_schema
from distill.sealed import read_sealed, write_sealed
from tests.jobs.entry import path_arguments, run_dirs, run_script, tiny_arguments, train


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    return tmp_path / "trap"


@pytest.fixture
def malicious(tmp_path: Path, trap: Path) -> Path:
    path = tmp_path / "malicious.ckpt"
    torch.save({"state_dict": {}, "distill": _Trap(trap)}, path)
    return path


def test_checkpoint_as_a_teacher(
    tmp_path: Path, malicious: Path, trap: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith("teacher.")]
    with pytest.raises(SystemExit) as ended:
        train("+experiment=funnel/two_tower", *tiny, "teacher=checkpoint", f"teacher.path={malicious}", "name=run")
    assert ended.value.code == 2
    assert "more than tensors" in capsys.readouterr().err
    assert not trap.exists()


def _refused(capsys: pytest.CaptureFixture[str]) -> str:
    message = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in message
    return message


def test_checkpoint_that_a_run_is_resumed_from(
    tmp_path: Path, malicious: Path, trap: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*(a for a in tiny_arguments(tmp_path) if not a.startswith("teacher.")), "name=run"]
    train(*arguments)
    capsys.readouterr()
    (run,) = run_dirs(tmp_path, "run")
    shutil.copy(malicious, run / "checkpoints" / "last.ckpt")
    with pytest.raises(SystemExit) as ended:
        train(*arguments, "resume=last")
    assert ended.value.code == 2
    assert "more than tensors" in _refused(capsys)
    assert not trap.exists()


def test_checkpoint_that_scores(
    tmp_path: Path, malicious: Path, trap: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_script(
            "scripts/score.py",
            "data=funnel_tiny",
            f"teacher.path={malicious}",
            "trainer=cpu",
            *path_arguments(tmp_path),
        )
    assert ended.value.code == 2
    assert "more than tensors" in _refused(capsys)
    assert not trap.exists()


@pytest.mark.slow
def test_checkpoint_in_the_cache(
    tmp_path: Path, malicious: Path, trap: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The entry is forged whole: its hash is that of the malicious file."""
    arguments = ["+experiment=quickstart", "control.enabled=false", *tiny_arguments(tmp_path)]
    train(*arguments, "name=first")
    capsys.readouterr()
    (entry,) = (tmp_path / "cache").glob("**/result.json")
    content = read_sealed(entry)
    shutil.copy(malicious, entry.parent / content["checkpoint"])
    write_sealed(entry, {**content, "blake2b": hash_file(malicious)})
    with pytest.raises(SystemExit) as ended:
        train(*arguments, "name=second")
    assert ended.value.code == 2
    assert "more than tensors" in _refused(capsys)
    assert not trap.exists()


def test_checkpoint_as_a_model_and_as_a_step(malicious: Path, trap: Path) -> None:
    with pytest.raises(DistillError, match="more than tensors"):
        load_model(malicious)
    with pytest.raises(DistillError, match="more than tensors"):
        replay(malicious, OmegaConf.create({}))
    assert not trap.exists()


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "builtins.exec", "subprocess.call"])
def test_config_that_names_a_program(trap: Path, target: str) -> None:
    node = {"_target_": target, "_args_": [f"__import__('os').mkdir({str(trap)!r})"]}
    for config in (node, {"_target_": "distill.losses.CompositeLoss", "terms": {"hard": node}}):
        with pytest.raises(ConfigError):
            build(OmegaConf.create(config), "loss")
    assert not trap.exists()


def test_schema_with_python_tags(tmp_path: Path, trap: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(f"!!python/object/apply:os.mkdir ['{trap}']\n", encoding="utf-8")
    with pytest.raises(DistillError, match="YAML"):
        load_schema(path)
    assert not trap.exists()
