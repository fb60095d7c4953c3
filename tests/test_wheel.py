"""The wheel alone, in an empty folder: the command, the configs in it, and configs of a user's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

from distill.export import BundleOptions, write_bundle
from distill.reports.summary import load_summary
from distill.serving import Bundle
from tests.export.conftest import write_log
from tests.jobs.entry import ROOT, tiny_arguments
from tests.patience import patience

BUILT_FROM = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "src", "conf", "serving")
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")
REQUEST = {
    "user": 3,
    "city": 1,
    "past": ["i3", None],
    "words": ["w1"],
    "taste": [0.1, 0.2, 0.3],
    "age": 30.0,
}
CANDIDATES = {
    "item": ["i3", "i99", None], "brand": [2**62, 1, None], "price": [4.0, None, 0.0], "tags": [[1], [], None],
    "image": [[1.0, 0.0, 0.0, 1.0], None, [0.0] * 4], "stock": [1.0, 2.0, None], "bid": [1.0, 2.0, 0.5],
}  # fmt: skip
ALONE = f"""
import json, sys
for name in ("torch", "pytorch_lightning", "hydra", "omegaconf", "scipy", "onnx", "tensorboard", "rich"):
    sys.modules[name] = None
import distill
from distill.serving import Bundle
print(json.dumps(Bundle.load(sys.argv[1]).score({REQUEST!r}, {CANDIDATES!r}).ranking_score.tolist()))
try:
    distill.train
except ImportError as error:
    print(error)
"""
MINE = """# @package _global_
defaults:
  - /experiment/quickstart
  - _self_
name: mine
seed: 3
"""


def _run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command where nothing of the repository is to be seen."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV", "HYDRA_MAIN_MODULE"}
    variables = {name: value for name, value in os.environ.items() if name not in hidden}
    variables |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    words = [str(word) for word in command]
    return subprocess.run(
        words, cwd=folder, env=variables, capture_output=True, text=True, timeout=patience(), check=False
    )


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Builds both wheels from a copy, so that nothing is left in the repository; needs no network."""
    copy = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in BUILT_FROM:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            shutil.copy(source, copy / name)
    out = copy / "dist"
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", out)
    done = _run(sys.executable, *PIP, "wheel", ".", "./serving", *offline, folder=copy)
    assert done.returncode == 0, done.stderr
    return {path.name.partition("-")[0]: path for path in out.glob("*.whl")}


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with both wheels and what they depend on; returns its bin folder."""
    return _environment(tmp_path_factory.mktemp("environment"), *wheels.values())


def _environment(folder: Path, *wheels: Path) -> Path:
    """Makes an environment with wheels and what they depend on, without the repository; returns its bin folder."""
    venv.create(folder, with_pip=False, symlinks=True)
    commands = folder / "bin"
    found = _run(commands / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder)
    packages = Path(found.stdout.strip())
    (packages / "dependencies.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")  # .pth files there do not count
    options = ("--no-deps", "--no-index", "--ignore-installed")
    done = _run(commands / "python", *PIP, "install", *options, *wheels, folder=folder)
    assert done.returncode == 0, done.stderr
    return commands


def test_the_wheels_share_out_the_package(wheels: dict[str, Path]) -> None:
    of = {name: {n for n in ZipFile(path).namelist() if n.endswith((".py", ".typed"))} for name, path in wheels.items()}
    own = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "distill").rglob("*.py")}
    assert not of["distill_serving"] & of["distill_ranker"]
    both = of["distill_serving"] | of["distill_ranker"]
    assert {name for name in both if name.startswith("distill/")} == own | {"distill/py.typed"}


@pytest.mark.slow
def test_the_runtime_alone_scores(wheels: dict[str, Path], tmp_path: Path) -> None:
    """An environment with the wheel of the runtime alone, in which torch and all of training cannot be imported."""
    (tmp_path / "environment").mkdir()
    commands = _environment(tmp_path / "environment", wheels["distill_serving"])
    log = write_log(tmp_path / "log")
    write_bundle(log.trained("two_tower"), tmp_path / "bundle", BundleOptions(exported=False))
    done = _run(commands / "python", "-c", ALONE, tmp_path / "bundle", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    scores, error = done.stdout.splitlines()
    bundle = Bundle.load(tmp_path / "bundle")
    wanted = bundle.score(REQUEST, CANDIDATES).ranking_score.tolist()
    assert json.loads(scores) == pytest.approx(wanted, abs=1e-5)
    assert error == "distill.train needs the distribution distill-ranker; this is distill-serving."


def test_the_wheel_holds_the_configs_of_the_repository(installed: Path, tmp_path: Path) -> None:
    code = "import distill, hydra_plugins.distill_optuna as p; print(distill.__file__); print(p.__file__)"
    done = _run(installed / "python", "-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    files = [Path(line) for line in done.stdout.splitlines()]
    assert all(installed.parent in file.parents for file in files)
    conf = files[0].parent / "conf"
    assert not (ROOT / "src" / "distill" / "conf").exists()
    of_wheel, own = ({f.relative_to(c): f.read_bytes() for f in c.rglob("*.yaml")} for c in (conf, ROOT / "conf"))
    assert of_wheel == own
    schemas = [
        {f.name for f in p.glob("data/datasets/archives/*.yaml")} for p in (conf.parent, ROOT / "src" / "distill")
    ]
    assert schemas[0] == schemas[1] != set()


@pytest.mark.slow
def test_the_command_says_what_it_does(installed: Path, tmp_path: Path) -> None:
    said = _run(installed / "distill", "--help", folder=tmp_path)
    assert said.returncode == 0
    assert all(name in said.stdout for name in ("prepare", "train", "score", "compare", "select"))
    said = _run(installed / "distill", "prepare", "--help", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "funnel_tiny" in said.stdout
    said = _run(installed / "distill", "trian", folder=tmp_path)
    assert said.returncode == 2
    assert "Did you mean train?" in said.stderr
    assert list(tmp_path.iterdir()) == []


def _write_experiment(folder: Path) -> list[str]:
    """Writes an experiment of a user's, and returns the arguments that name it."""
    (folder / "configs" / "experiment").mkdir(parents=True)
    (folder / "configs" / "experiment" / "mine.yaml").write_text(MINE)
    return ["--config-dir", "configs", "+experiment=mine"]


@pytest.mark.slow
def test_training_with_an_experiment_of_ones_own(installed: Path, tmp_path: Path) -> None:
    own = _write_experiment(tmp_path)
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith("paths.")]
    done = _run(installed / "distill", "train", *tiny, *own, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "distilled" in done.stdout
    assert "GPU available" not in done.stderr  # and the like, which Lightning says when nobody stops it
    (folder,) = (tmp_path / "runs" / "mine").iterdir()
    summary = load_summary(folder)
    assert summary.seed == 3
    assert set(summary.metrics) == {"teacher", "control", "distilled"}
    assert (folder / "train.log").is_file()
    done = _run(installed / "distill", "compare", "runs", folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes_and_a_sweep_side_by_side(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith(("paths.", "trainer="))]
    few = [
        *tiny,
        *_write_experiment(tmp_path),
        "trainer=ddp_sim",
        "trainer.limit_train_batches=2",
        "logger=none",
        "threads=1",
    ]
    jobs = ["-m", "seed=0,1", "hydra/launcher=distill_joblib"]
    done = _run(installed / "distill", "train", *few, *jobs, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    assert [load_summary(sweep / job).seed for job in ("0", "1")] == [0, 1]
    assert (sweep / "0" / "train.log").is_file()
    assert (sweep / "comparison.json").is_file()
