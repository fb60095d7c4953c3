"""bf16 autocast and torch.compile work in training, evaluation, checkpoints and scoring."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.batch import Batch
from distill.errors import ConfigError
from distill.jobs.parts import load_model
from distill.losses import CompositeLoss, LossInputs
from distill.models import InteractionRanker
from distill.reports.summary import load_summary
from distill.training.compiled import compile_dense
from tests.batches import make_schema
from tests.jobs.entry import run_dirs, run_script, tiny_arguments, train
from tests.models.building import small_dcn_v2


def _teacher(root: Path, name: str, *arguments: str) -> Path:
    few = ["trainer.limit_train_batches=3", f"name={name}"]
    tiny = [argument for argument in tiny_arguments(root) if not argument.startswith("teacher.")]
    train("+experiment=funnel/teacher_dcn_v2", *tiny, *few, *arguments)
    return run_dirs(root, name)[0]


def _check_run(root: Path, eager: Path, other: Path, tolerance: float) -> None:
    """The same names and kinds of weights, a checkpoint that loads alone, metrics close to those of the eager run."""
    first, second = (load_model(folder / "checkpoints" / "best.ckpt").model.state_dict() for folder in (eager, other))
    assert {k: v.dtype for k, v in first.items()} == {k: v.dtype for k, v in second.items()}
    expected, found = (load_summary(folder).metrics["model"]["click/logloss"] for folder in (eager, other))
    assert found == pytest.approx(expected, abs=tolerance)
    checkpoint = other / "checkpoints" / "best.ckpt"
    paths = [a for a in tiny_arguments(root) if a.startswith("paths.")]
    out = root / f"signals_{other.parent.name}"
    run_script(
        "scripts/score.py", "data=funnel_tiny", "trainer=cpu", f"teacher.path={checkpoint}", f"out={out}", *paths
    )
    assert (out / "provenance.json").exists()


@pytest.mark.slow
def test_bf16_keeps_weights_and_losses_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = _teacher(tmp_path, "eager")
    seen: set[torch.dtype] = set()
    inside: list[torch.dtype] = []
    forward, model_forward = CompositeLoss.forward, InteractionRanker.forward

    def spy(self: CompositeLoss, inputs: LossInputs) -> object:
        report = forward(self, inputs)
        seen.update({inputs.output.logits.dtype, report.total.dtype, *(h.dtype for h in inputs.output.hidden.values())})
        assert not torch.is_autocast_enabled("cpu")
        return report

    def spy_model(self: InteractionRanker, batch: Batch) -> object:
        output = model_forward(self, batch)
        inside.append(output.logits.dtype)
        return output

    with monkeypatch.context() as patch:
        patch.setattr(CompositeLoss, "forward", spy)
        patch.setattr(InteractionRanker, "forward", spy_model)
        bf16 = _teacher(tmp_path, "bf16", "trainer.precision=bf16-mixed", "cost.enabled=false")
    assert set(inside) == {torch.bfloat16}  # training and evaluation
    assert seen == {torch.float32}
    _check_run(tmp_path, eager, bf16, 0.02)


@pytest.mark.slow
def test_compiled_layers_train_what_eager_ones_do(tmp_path: Path) -> None:
    eager = _teacher(tmp_path, "eager")
    _check_run(tmp_path, eager, _teacher(tmp_path, "compiled", "compile.enabled=true"), 1e-4)


@pytest.mark.slow
def test_compiling_changes_no_name_and_compiles_each_outermost_layer() -> None:
    model = small_dcn_v2(make_schema())
    names = list(model.state_dict())
    compile_dense(model, "default", None)
    assert list(model.state_dict()) == names
    compiled = {name for name, module in model.named_modules() if module._compiled_call_impl is not None}
    assert compiled == {"body.cross", "body.mlp"}


def test_what_cannot_be_compiled_is_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown mode"):
        compile_dense(torch.nn.Linear(1, 1), "fast", None)
    with pytest.raises(ConfigError, match="no layer to compile"):
        compile_dense(torch.nn.Linear(1, 1), "default", None)
