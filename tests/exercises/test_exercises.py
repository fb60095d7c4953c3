"""The five exercises of the contributing guide, from outside the package: a user's own modules, named by `_target_`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from distill.reports.summary import load_summary
from tests.jobs.entry import ROOT, path_arguments, run_dirs, run_script, train

HERE = Path(__file__).parent
CONFIGS = str(HERE / "configs")
GUIDE = ROOT / "docs" / "contributing.md"
TINY = ["trainer=cpu", "callbacks.progress_bar=false", "cost.enabled=false", "trainer.max_epochs=1", "name=run"]


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def _run(root: Path, *arguments: str) -> Path:
    train("--config-dir", CONFIGS, "data=funnel_tiny", *TINY, *path_arguments(root), *arguments)
    return run_dirs(root, "run")[-1]


def test_losses_of_ones_own(tmp_path: Path) -> None:
    """Both kinds at once: on what is there, and on something that the run is asked for."""
    own = [f"+loss_term@loss.terms.{name}={name}" for name in ("focal", "rare")]
    folder = _run(tmp_path, "model=two_tower", *own)
    terms = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["loss"]["terms"]
    assert {name: node["_target_"] for name, node in terms.items() if name != "hard"} == {
        "focal": "mine.focal.Focal",
        "rare": "mine.rare.RareItems",
    }
    assert load_summary(folder).metrics["model"]["click/auc"] > 0


def test_a_metric_and_a_dataset_of_ones_own(tmp_path: Path) -> None:
    summary = load_summary(_run(tmp_path, "model=logistic", "data=shop", "metrics=mine"))
    assert 0.0 <= summary.metrics["model"]["click/first_is_positive"] <= 1.0
    assert summary.better["click/first_is_positive"] == "up"


def test_a_model_of_ones_own_is_trained_scored_and_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the command trusts its package; a checkpoint that names it is refused otherwise, and nothing is imported."""
    with pytest.raises(SystemExit):
        _run(tmp_path, "model=linear_towers")
    assert "trusted=[PACKAGE]" in capsys.readouterr().err
    folder = _run(tmp_path, "model=linear_towers", "trusted=[mine]")
    checkpoint = folder / "checkpoints" / "best.ckpt"
    arguments = [f"teacher.path={checkpoint}", "data=funnel_tiny", "trainer=cpu", *path_arguments(tmp_path)]
    with pytest.raises(SystemExit):
        run_script("scripts/score.py", *arguments)
    said = capsys.readouterr().err
    assert "mine.models.LinearTowers" in said
    assert "trusted=[PACKAGE]" in said
    run_script("scripts/score.py", *arguments, "trusted=[mine]")


def test_the_guide_shows_what_is_run_here() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", guide, re.DOTALL)
    shown = dict(blocks)
    files = {str(p.relative_to(HERE)): p for p in HERE.rglob("*") if p.suffix in (".py", ".yaml") and p.stat().st_size}
    own = {name: path.read_text(encoding="utf-8") for name, path in files.items() if "test_" not in name}
    assert shown == own
