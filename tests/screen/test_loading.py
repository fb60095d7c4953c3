"""A job whose libraries take long to load says so; one that loads at once, or another rank, does not."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from distill.errors import ConfigError
from distill.jobs import app, values
from distill.screen import loading
from distill.screen.loading import SAID, load
from tests.patience import patience


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown, in a process that has not loaded torch."""
    found: list[str] = []
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(loading, "show", found.append)
    return found


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    return name


def test_a_slow_import_says_that_something_is_loaded(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    come = threading.Event()
    monkeypatch.setattr(loading, "AFTER", 0.0)
    monkeypatch.setattr(loading, "show", lambda text: (said.append(text), come.set()))
    monkeypatch.setattr("builtins.come", come, raising=False)
    load(module(tmp_path, monkeypatch, "slow_job", f"assert come.wait({patience()})"))
    assert said == [SAID]


@pytest.mark.parametrize(("name", "after"), [("RANK", 0.0), ("torch", 0.0), ("NONE", 60.0)])
def test_other_ranks_what_is_loaded_and_what_is_quick_say_nothing(
    name: str, after: float, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "AFTER", after)
    monkeypatch.setenv(name, "1")
    if name == "torch":
        monkeypatch.setitem(sys.modules, "torch", sys)
    found = load(module(tmp_path, monkeypatch, f"job_{name}", "import time\ntime.sleep(0.1)\nrun = 3\n"))
    assert found.run == 3
    assert said == []


def test_values_that_load_libraries_are_checked_below_the_line(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    come = threading.Event()

    def check(cfg: DictConfig) -> None:
        assert come.wait(patience())
        raise ConfigError("Wrong.")

    monkeypatch.setattr(loading, "AFTER", 0.0)
    monkeypatch.setattr(loading, "show", lambda text: (said.append(text), come.set()))
    monkeypatch.setattr(values, "check_values", check)
    with pytest.raises(ConfigError):
        app._run("no_such_module", OmegaConf.create({}))
    assert said == [SAID]
