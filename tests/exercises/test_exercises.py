"""The five exercises of the contributing guide, from outside the package: a user's own modules, named by `_target_`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from distill.errors import ConfigError
from distill.jobs.parts import build_model, load_model
from distill.jobs.trust import trusting
from distill.reports.summary import load_summary
from distill.training.checkpoint_io import read_checkpoint
from tests.batches import make_batch, make_schema
from tests.jobs.entry import ROOT, path_arguments, replay, run_dirs, run_script, train
from tools.stats import exercises

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


def test_a_checkpoint_imports_nothing_of_a_package_that_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor of another than is trusted, or of one whose name only begins like it; in whatever command loads it."""
    trap = tmp_path / "mine_too.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = _run(tmp_path, "model=linear_towers", "trusted=[mine]")
    content = dict(read_checkpoint(folder / "checkpoints" / "best.ckpt"))
    content["distill"] = {**content["distill"], "net": {**content["distill"]["net"], "_target_": "mine_too.Model"}}
    evil = tmp_path / "evil.ckpt"
    torch.save(content, evil)
    student = ["model=two_tower", "loss=pointwise", "teacher=checkpoint", f"teacher.path={evil}"]
    score = [f"teacher.path={evil}", "data=funnel_tiny", "trainer=cpu", *path_arguments(tmp_path)]
    for trust in ([], ["trusted=[mine]"]):
        with pytest.raises(SystemExit):
            _run(tmp_path, *student, *trust)
        with pytest.raises(SystemExit):
            run_script("scripts/score.py", *score, *trust)
        with pytest.raises(ConfigError, match="that you trust"):
            load_model(evil)
    assert capsys.readouterr().err.count("evil.ckpt: net._target_") == 4
    assert "mine_too" not in sys.modules
    assert not (tmp_path / "sprung").exists()


@pytest.mark.slow
def test_a_model_of_ones_own_teaches_and_is_taught(tmp_path: Path) -> None:
    """As a teacher that is trained, and as a checkpoint; a program may load it that trusts its package."""
    own = ["model=linear_towers", "trusted=[mine]", "loss=pointwise", "control.enabled=false"]
    trained = ["teacher=trained", "teacher.max_epochs=1", "model@teacher.model=linear_towers"]
    folder = _run(tmp_path, *own, *trained)
    checkpoint = folder / "checkpoints" / "best.ckpt"
    again = _run(tmp_path, *own, "teacher=checkpoint", f"teacher.path={checkpoint}")
    assert list(load_summary(again).metrics) == ["teacher", "distilled"]
    with trusting(["mine"]):
        assert type(load_model(checkpoint).model).__module__ == "mine.models"
    with pytest.raises(ConfigError):
        load_model(checkpoint)


@pytest.mark.parametrize(("text", "said"), [("import nowhere_at_all", "nowhere_at_all"), ("def x(:", "invalid syntax")])
def test_a_model_whose_module_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    name = f"broken_{len(text)}"
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        _run(tmp_path, "model=two_tower", f"model.net._target_={name}.Model", f"trusted=[{name}]")
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_model_of_ones_own_takes_any_number_of_rows() -> None:
    schema = make_schema().serving_view()
    node = yaml.safe_load((HERE / "configs" / "model" / "linear_towers.yaml").read_text(encoding="utf-8"))["net"]
    with trusting(["mine"]):
        model = build_model({**node, "sequence": {"_target_": "distill.features.MeanPooling"}}, schema, "net")
    for sizes in ((), (0, 0), (1,), (2, 0, 3)):
        assert model(make_batch(schema, sizes)).logits.shape == (sum(sizes), 2)


@pytest.mark.slow
def test_a_step_of_a_loss_that_asks_for_the_catalogue_is_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["model=two_tower", "+loss_term@loss.terms.rare=rare", "loss.terms.hard.weight=1e39"]
    with pytest.raises(SystemExit):
        _run(tmp_path, *arguments)
    (step,) = (run_dirs(tmp_path, "run")[-1] / "checkpoints").glob("non_finite_*.pt")
    capsys.readouterr()
    paths = ["--config-dir", CONFIGS, "data=funnel_tiny", *TINY, *path_arguments(tmp_path)]
    replay(*paths, *arguments, f"step={step}")
    assert "rare" in capsys.readouterr().out


def test_the_guide_counts_the_files_that_it_shows() -> None:
    said = {title: int(count) for title, count in re.findall(r"^### (.+): (\d) files", GUIDE.read_text(), re.MULTILINE)}
    assert said == {title: len(files) for title, files in exercises(GUIDE).items()}
    assert len(said) == 5
    assert max(said.values()) <= 3


def test_the_guide_shows_what_is_run_here() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", guide, re.DOTALL)
    shown = dict(blocks)
    files = {str(p.relative_to(HERE)): p for p in HERE.rglob("*") if p.suffix in (".py", ".yaml") and p.stat().st_size}
    own = {name: path.read_text(encoding="utf-8") for name, path in files.items() if "test_" not in name}
    assert shown == own
