"""Imports point down only, and only some floors know Lightning and Hydra."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "distill"
FLOORS = [
    {"errors", "console", "codes", "list_sizes"},
    {"files", "lock", "checks", "screen"},
    {"in_use", "arguments", "batch", "ops", "plain", "sealed"},
    {"places", "engines"},
    {"schema", "layers"},
    {"encodings"},
    {"serving"},
    {"service", "device"},
    {"data"},
    {"features"},
    {"models"},
    {"export"},
    {"signals"},
    {"losses"},
    {"sampling"},
    {"metrics"},
    {"cascade"},
    {"training"},
    {"reports"},
    {"jobs"},
    {"api", "cli"},
    {"__main__"},
]
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}
# Who may know that embedding tables can be sharded: by names and attributes of the source.
SHARDING = {
    "ShardedTable": {"features/shards.py", "features/sharded.py"},
    "ShardedTables": {
        "features/__init__.py",
        "features/placement.py",
        "features/sharded.py",
        "training/sharded_adagrad.py",
    },
    "sharded_tables": {"features/__init__.py", "features/sharded.py", "training/finite.py", "training/optim.py"},
    "sharding": {"features/placement.py", "jobs/fit_models.py", "jobs/sharding.py"},  # the key of the config
}
TENSORS_ONLY = ("layers", "ops", "losses/functional", "metrics/functional")
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def _package(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = _package(path)
    for name in _imports(path):
        if not name.startswith("distill."):
            continue
        other = name.split(".")[1]
        assert other == own or FLOOR[other] < FLOOR[own], f"{own} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_lightning_and_hydra_stay_where_they_belong(path: Path) -> None:
    place = str(path.relative_to(PACKAGE))
    imports = _imports(path)
    if not place.startswith(("training/", "jobs/", "data/datamodule")):
        assert not any(name.startswith(("pytorch_lightning", "lightning")) for name in imports)
    if not place.startswith("jobs/"):
        assert not any(name.startswith(("hydra", "omegaconf")) for name in imports)
    if place.startswith(TENSORS_ONLY):
        known = (
            "distill.errors",
            "distill.ops",
            "distill.layers",
            "distill.losses.functional",
            "distill.metrics.functional",
        )
        assert not any(name.startswith("distill") and not name.startswith(known) for name in imports)


def _names(path: Path) -> set[str]:
    """Names, attributes and imported names of a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.alias | ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
    return found


def test_sharded_tables_have_one_seam() -> None:
    knowing = {name: set[str]() for name in SHARDING}
    for path in MODULES:
        for name in knowing.keys() & _names(path):
            knowing[name].add(str(path.relative_to(PACKAGE)))
    assert knowing == SHARDING
    texts = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in MODULES}
    assert [place for place, text in texts.items() if "torchrec" in text or "fbgemm" in text] == ["features/shards.py"]


@pytest.mark.parametrize("path", [PACKAGE.parents[1] / "train.py", *(PACKAGE.parents[1] / "scripts").glob("*.py")])
def test_shims_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 25


def test_the_page_shows_the_floors() -> None:
    page = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2] for line in page.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert [{name.strip(" `") for name in row.split(",")} for row in rows] == FLOORS
