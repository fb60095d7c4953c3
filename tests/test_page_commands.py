"""Every command on every page is one that there is: its config composes, its options are read."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from omegaconf import OmegaConf

from benchmarks.conf_folder import CONF as BENCHMARKS
from distill.jobs.commands import COMMANDS
from distill.jobs.override_text import for_hydra
from tests.marks import some_fast
from tests.messages import CONF
from tests.models.composing import composing
from tests.page_commands import PageCommand, page_commands

HYDRA = [c for c in page_commands() if c.name == "benchmark" or COMMANDS[c.name].config]
OTHERS = [c for c in page_commands() if c.name != "benchmark" and not COMMANDS[c.name].config]
# Groups of a reader's own, of which the page shows the file; what a command before it writes.
OF_A_READER = (
    "experiment=mine",
    "experiment=selected/",
    "loss_term=",
    "metrics=mine",
    "model=linear_towers",
    "data=shop",
)


def _arguments(words: tuple[str, ...]) -> list[str]:
    """The overrides, without Hydra's own options; one choice of each sweep."""
    given = [word for word in words if word != "-m"]
    while "--config-dir" in given:
        at = given.index("--config-dir")
        del given[at : at + 2]
    found = []
    for text in given:
        override = OverridesParser.create().parse_override(for_hydra(text))
        found.append(_first(override) if override.is_sweep_override() else for_hydra(text))
    return found


def _first(override: Override) -> str:
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        group = override.key_or_group
        names = sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem != "base")
        return f"{override.get_key_element()}={next(n for n in names if _chosen(override, n))}"
    return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"


def _chosen(override: Override, name: str) -> bool:
    return name in override.value().filter([name])  # type: ignore[union-attr]  # a glob


@contextmanager
def _configs(name: str) -> Iterator[None]:
    if name != "benchmark":
        with composing():
            yield
        return
    with initialize_config_dir(str(BENCHMARKS), version_base="1.3"):
        yield


@pytest.mark.parametrize("command", some_fast(HYDRA, 12), ids=str)
def test_its_config_composes(command: PageCommand) -> None:
    config = "benchmark" if command.name == "benchmark" else COMMANDS[command.name].config
    arguments = [a for a in _arguments(command.words) if not a.lstrip("+").startswith(OF_A_READER)]
    if command.name == "benchmark":
        arguments.append(f"hydra.searchpath=[file://{CONF}]")
    with _configs(command.name):
        assert OmegaConf.is_config(compose(config, arguments))


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_its_options_are_read(command: PageCommand) -> None:
    """A command without a config says what it cannot read by SystemExit."""
    module = importlib.import_module(COMMANDS[command.name].options or "")
    assert module.arguments(list(command.words)) is not None


def test_the_pages_have_commands() -> None:
    counts = Counter(c.name for c in page_commands())
    assert counts["train"] > 50
    assert set(COMMANDS) - {"replay", "select", "publish"} <= set(counts)
