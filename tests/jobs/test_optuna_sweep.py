"""Studies through the real entry point."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.jobs.node import build
from distill.reports.summary import load_summary
from tests.jobs.entry import ROOT, tiny_arguments, train
from tests.jobs.processes import run_python


def few(root: Path) -> list[str]:
    small = ["trainer.limit_train_batches=2", "logger=none", f"hydra.sweep.dir={root / 'sweep'}"]
    return ["-m", "+sweep=optuna", *tiny_arguments(root), *small]


@pytest.mark.slow
def test_a_study_goes_on_and_prunes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*few(tmp_path), "+experiment=funnel/two_tower_from_dcn_v2-softmax_kl", "study.seeds=[0,1]"]
    command += ["data.adapter.seed=0", "teacher.loss.terms.hard.weight=1.0", "optimizer.embedding_lr=0.1"]
    train(*command, "study.n_trials=1", "study.objective=val/teacher_recall@20_10")
    bound = ["optuna/pruner@study.pruner=threshold", "study.pruner.lower=1.5"]  # beyond any recall
    train(*command, "study.n_trials=2", "study.objective=val/teacher_recall@20_10", *bound)
    sweep = tmp_path / "sweep"
    content = json.loads((sweep / "trials.json").read_text())
    complete, pruned = content["trials"]
    assert [(t["number"], t["state"], t["validations"]) for t in (complete, pruned)] == [
        (0, "complete", 1),
        (1, "pruned", 1),
    ]
    terms = ("loss.terms.softmax_kl.weight", "loss.terms.softmax_kl.temperature")
    assert set(complete["params"]) == {"optimizer.lr", *terms}
    found = [load_summary(sweep / job) for job in ("0_0", "0_1")]
    values = [summary.validation["distilled"]["val/teacher_recall@20_10"] for summary in found]
    assert complete["value"] == pytest.approx(sum(values) / 2)
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == {"0_0", "0_1", "1_0"}
    assert not (sweep / "1_0" / "summary.json").exists()
    assert (sweep / "1_0" / "checkpoints" / "last.ckpt").exists()
    assert {p.name.split("-")[0] for p in (tmp_path / "cache" / "models").iterdir() if p.is_dir()} == {"teacher"}
    printed = capsys.readouterr().out
    assert "2 trials: 1 complete, 1 pruned" in printed
    assert f"loss.terms.softmax_kl.weight={complete['params'][terms[0]]}" in printed
    assert "seed=2,3,4" in printed


@pytest.mark.slow
def test_two_processes_stop_together(tmp_path: Path) -> None:
    arguments = [a for a in few(tmp_path) if not a.startswith(("trainer=", "teacher."))]
    bound = ["optuna/pruner@study.pruner=threshold", "study.pruner.lower=1.5", "study.n_trials=1"]
    done = run_python("train.py", *arguments, "+experiment=funnel/two_tower", "trainer=ddp_sim", *bound)
    assert "Trial 0 is given up after 1 validation" in done.errors, done.errors[-3000:]
    assert done.errors.count("is given up") == 1  # said once
    assert "1 trials: 1 pruned" in done.output
    assert done.status == 2  # no trial is complete
    assert not (tmp_path / "sweep" / "0_0" / "summary.json").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "optuna").rglob("*.yaml")), ids=lambda path: path.stem)
def test_samplers_and_pruners_can_be_built(path: Path) -> None:
    import yaml

    node = yaml.safe_load(path.read_text())
    own = {"seed": 3} if path.parent.name == "sampler" else {"lower": 0.5} if path.stem == "threshold" else {}
    assert type(build({**node, **own}, "study")).__name__ == node["_target_"].rpartition(".")[2]
