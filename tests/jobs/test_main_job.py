"""The main job through its real entry point, on a tiny cascade."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from distill.batch import Batch
from distill.data.dataset import load_dataset
from distill.jobs.parts import load_model
from distill.losses import LossInputs
from distill.losses.terms import SoftmaxKL, TermSums
from distill.models import InteractionRanker, TwoTower
from distill.reports.evidence import load_evidence
from distill.reports.summary import Summary, load_summary
from tests.jobs.entry import ROOT, run_dirs, tiny_arguments, train
from tests.patience import patience
from tests.reports.page.pages import Page


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a listwise distillation."""
    root = tmp_path_factory.mktemp("distilled")
    train("+experiment=quickstart", *tiny_arguments(root), "name=run")
    return next(iter(run_dirs(root, "run")))


def test_leaves_what_it_promises(distilled: Path) -> None:
    found = {path.name for path in distilled.iterdir()}
    assert {
        "summary.json",
        "curves.json",
        "manifest.json",
        "config.yaml",
        "checkpoints",
        "tensorboard",
        ".hydra",
    } <= found
    assert {path.name for path in (distilled / "checkpoints").iterdir()} >= {"best.ckpt", "last.ckpt"}
    manifest = json.loads((distilled / "manifest.json").read_text())
    assert manifest["versions"]["torch"] == torch.__version__
    assert len(manifest["dataset"]["fingerprint"]) == 32


def test_the_page_draws_what_was_measured_of_all_three_models(distilled: Path) -> None:
    found, summary = load_evidence(distilled), load_summary(distilled)
    assert found is not None
    assert found.data.fingerprint == summary.dataset
    assert [split.requests for split in found.data.splits if split.name == "test"] == [summary.requests]
    for role in ("teacher", "control", "distilled"):
        curve = found.curves[role].recall["teacher_recall@k_10"]
        recall = summary.metrics[role]["teacher_recall@20_10"]
        assert curve.value[curve.k.index(20)] == pytest.approx(recall)
        assert len(found.curves[role].calibration["click"].predicted) > 1
        assert found.learning[role].step
        assert summary.validation[role]["val/click/auc"] > 0
    assert [value for value in found.learning["distilled"].loss if value is not None]
    assert summary.checkpoint("distilled") == str(distilled / "checkpoints" / "best.ckpt")
    page = Page((distilled / "report.html").read_text(encoding="utf-8"))
    assert page.names.count("svg") > 6
    assert found.data.fingerprint in page.text
    assert "train.py +experiment=quickstart data=funnel_tiny" in page.text
    assert "Costs were not measured (cost.enabled=false)." in page.text


def test_the_log_file_holds_validations_endings_and_the_table(distilled: Path) -> None:
    log = (distilled / "train.log").read_text(encoding="utf-8")
    for role in ("teacher", "control", "student"):
        assert re.search(rf": {role} +epoch 1/1  step +\d+  click/auc 0\.\d+  best 0\.\d+  [\d.]+ s", log)
        assert re.search(rf": {role} +ended after 1 of 1 epochs .*trainer\.max_epochs", log)
        assert re.search(rf": {role} +best: val/click/auc 0\.\d+ .*/best\.ckpt$", log, re.MULTILINE)
    assert re.search(r"^teacher_recall@20_10 +1\.0000", log, re.MULTILINE)
    warnings = re.findall(r" WARNING [\w.]+: (.*)", log)
    assert warnings
    assert not any("WARNING" in warning for warning in warnings)
    assert len(warnings) == len(set(warnings))


def test_summary_puts_three_models_side_by_side(distilled: Path) -> None:
    summary = load_summary(distilled)
    assert list(summary.metrics) == ["teacher", "control", "distilled"]
    names = {"click/auc", "click/gauc", "click/logloss", "click/pcoc", "click/recall@10", "click/ndcg@10"}
    for values in summary.metrics.values():
        assert names | {"teacher_recall@20_10", "best_recall@20_10"} <= values.keys()
    assert summary.metrics["teacher"]["teacher_recall@20_10"] == 1.0
    assert summary.parameters["control"] == summary.parameters["distilled"] < summary.parameters["teacher"]
    assert summary.cached == []
    control, teacher = (summary.metrics[r]["teacher_recall@20_10"] for r in ("control", "teacher"))
    expected = (summary.metrics["distilled"]["teacher_recall@20_10"] - control) / (teacher - control)
    assert summary.gap_recovered["teacher_recall@20_10"] == pytest.approx(expected)
    assert summary.differences["teacher_recall@20_10"].requests == 30


def test_checkpoint_loads_alone_and_its_student_is_a_serving_view(distilled: Path) -> None:
    loaded = load_model(distilled / "checkpoints" / "best.ckpt")
    assert not any(f.privileged for f in loaded.schema.fields)
    dataset = load_dataset(next((distilled.parent.parent.parent / "data").glob("funnel-*")))
    assert any(f.privileged for f in dataset.schema.fields)
    assert loaded.dataset == dataset.fingerprint
    assert not loaded.model.training


def test_tensorboard_holds_terms_metrics_and_hparams(distilled: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def tags(folder: str) -> dict[str, list[str]]:
        events = EventAccumulator(str(distilled / "tensorboard" / folder))
        events.Reload()
        return events.Tags()

    scalars = tags("student")["scalars"]
    assert {"train/loss", "train/loss_hard", "train/loss_soft", "train/loss_list", "val/click/auc"} <= set(scalars)
    assert "custom_scalars__config__" in tags("student")["tensors"]
    test = tags("test/distilled")
    assert "test/click/auc" in test["scalars"]
    assert "config/text_summary" in test["tensors"]
    assert {p.name for p in (distilled / "tensorboard" / "test").iterdir()} == {"teacher", "control", "distilled"}


def test_same_seed_same_result_and_caches_are_used(distilled: Path, tmp_path: Path) -> None:
    root = distilled.parent.parent.parent
    train("+experiment=quickstart", *tiny_arguments(root), "name=again")
    again = load_summary(next(iter(run_dirs(root, "again"))))
    assert again.cached == ["teacher", "control"]
    assert _finite(again) == _finite(load_summary(distilled))


@pytest.mark.slow
def test_online_teacher_equals_cached_signals(distilled: Path) -> None:
    root = distilled.parent.parent.parent
    train("+experiment=quickstart", *tiny_arguments(root), "name=online", "teacher.signals=online")
    online = load_summary(next(iter(run_dirs(root, "online"))))
    cached = load_summary(distilled)
    for name, value in _finite(online)["distilled"].items():
        assert value == pytest.approx(_finite(cached)["distilled"][name], abs=2e-3), name


@pytest.mark.slow
def test_a_privileged_field_cannot_reach_a_student(distilled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widths: dict[type[torch.nn.Module], set[int]] = {TwoTower: set(), InteractionRanker: set()}

    def spy_on(model: type[torch.nn.Module]) -> None:
        forward = model.forward

        def spy(self: torch.nn.Module, batch: Batch) -> object:
            widths[model].add(batch.cross.numbers.shape[1])
            return forward(self, batch)

        monkeypatch.setattr(model, "forward", spy)

    spy_on(TwoTower)
    spy_on(InteractionRanker)
    root = distilled.parent.parent.parent
    online = ["teacher.signals=online", "teacher.privileged=true"]
    train("+experiment=quickstart", *tiny_arguments(root), "name=spy", *online)
    schema = load_dataset(next((root / "data").glob("funnel-*"))).schema
    numbers = [f for f in schema.fields if f.side.value == "cross" and f.is_number]
    assert any(f.privileged for f in numbers)
    assert widths == {TwoTower: {sum(not f.privileged for f in numbers)}, InteractionRanker: {len(numbers)}}


@pytest.mark.slow
def test_listwise_losses_never_see_a_cut_request(distilled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = distilled.parent.parent.parent
    dataset = load_dataset(next((root / "data").glob("funnel-*")))
    whole: dict[int, int] = {}
    for part in dataset.parts("train"):
        table = pq.read_table(dataset.root / part.path, columns=["key_request", "num_candidates"])
        whole |= dict(zip(table["key_request"].to_pylist(), table["num_candidates"].to_pylist(), strict=True))
    seen: list[int] = []
    forward = SoftmaxKL.forward

    def spy(self: SoftmaxKL, inputs: LossInputs) -> TermSums:
        counts = torch.bincount(inputs.batch.request_index, minlength=inputs.batch.num_requests).tolist()
        requests = inputs.batch.request_id.tolist()
        assert counts == [whole[request] for request in requests]
        seen.extend(requests)
        return forward(self, inputs)

    monkeypatch.setattr(SoftmaxKL, "forward", spy)
    small = ["control.enabled=false", "data.loader.batch_candidates=100", "data.loader.shuffle_buffer=700"]
    train("+experiment=quickstart", *tiny_arguments(root), "name=cut", *small)
    assert sorted(seen) == sorted(whole)


@pytest.mark.slow
def test_two_processes_through_the_entry_point(tmp_path: Path) -> None:
    """Two ranks train, score and test together; both see the same global batches as one process with two shards."""
    arguments = [*tiny_arguments(tmp_path), "callbacks.progress_bar=false", "paths.data=" + str(tmp_path / "data")]
    arguments = [a for a in arguments if not a.startswith("trainer=")]
    train("+experiment=quickstart", *arguments, "trainer=cpu", "name=one", "data.loader.num_shards=2",
          f"paths.cache={tmp_path / 'cache_one'}")  # fmt: skip
    command = [sys.executable, "train.py", "+experiment=quickstart", *arguments, "trainer=ddp_sim", "name=two",
               "data.loader.num_shards=2", f"paths.cache={tmp_path / 'cache_two'}"]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=patience(), env={**os.environ}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_summary(next(iter(run_dirs(tmp_path, name)))) for name in ("one", "two"))
    assert len(run_dirs(tmp_path, "two")) == 1
    assert one.steps == two.steps
    for role, values in _finite(one).items():
        for name, value in values.items():
            assert value == pytest.approx(_finite(two)[role][name], abs=5e-3), (role, name)


@pytest.mark.slow
def test_nothing_of_the_libraries_is_printed(tmp_path: Path) -> None:
    """In a process of its own, as pytest keeps warnings to itself: what a user reads is ours."""
    alone = [a for a in tiny_arguments(tmp_path) if not a.startswith("teacher.")]
    command = [sys.executable, "train.py", *alone, "trainer.max_steps=3", "name=quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "site-packages" not in done.stderr
    assert "Run folder" in done.stderr


def _finite(summary: Summary) -> dict[str, dict[str, float]]:
    return {role: {n: v for n, v in values.items() if math.isfinite(v)} for role, values in summary.metrics.items()}
