"""What `trainer.precision=auto` and `trainer.matmul_precision` become, and that resuming knows of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from distill.jobs import machine
from distill.jobs.manifest import read_record
from distill.training import native
from distill.training.checkpoint_io import read_checkpoint
from distill.training.module import RankingModule
from distill.training.native import bfloat16_pays
from tests.jobs.entry import run_dirs, tiny_arguments, train
from tests.jobs.run_state import difference


def _arguments(root: Path, name: str, *more: str) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith("teacher.")]
    return ["model=two_tower", *tiny, f"name={name}", *more]


def _says(monkeypatch: pytest.MonkeyPatch, pays: bool) -> None:
    monkeypatch.setattr(machine, "bfloat16_pays", lambda use_cuda: pays)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True, "num_logical_cores": 2}, True),
        ({"bf16": True, "cpu_name": "bf16"}, True),
        ({"cpu_name": "bf16"}, False),
    ],
)
def test_instructions_of_the_processor(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(native, "_speedup", lambda: 2.0)
    assert bfloat16_pays(use_cuda=False) is expected


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, True), (0.75, True), (0.8, False), (2.0, False)])
def test_instructions_that_are_no_faster_are_not_taken(
    monkeypatch: pytest.MonkeyPatch, seconds: float, expected: bool
) -> None:
    """AVX512-BF16 without AMX took 1.9 times as long as float32 on a Xeon."""
    clock = [0.0]

    def product(left: torch.Tensor, right: torch.Tensor) -> None:
        clock[0] += seconds if left.dtype is torch.bfloat16 else 1.0

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(functional, "linear", product)
    monkeypatch.setattr(time, "thread_time", lambda: clock[0])
    native._speedup.cache_clear()
    try:
        assert bfloat16_pays(use_cuda=False) is expected
    finally:
        native._speedup.cache_clear()


def test_older_torch_is_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(native, "_speedup", lambda: 2.0)
    assert bfloat16_pays(use_cuda=False)


@pytest.mark.slow
def test_auto_is_float32_where_nothing_else_is_native(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _says(monkeypatch, False)
    train(*_arguments(tmp_path, "plain"))
    train(*_arguments(tmp_path, "chosen", "trainer.precision=auto"))
    assert "trainer.precision=auto is 32-true on this CPU" in capsys.readouterr().err
    (plain,), (chosen,) = run_dirs(tmp_path, "plain"), run_dirs(tmp_path, "chosen")
    states = [read_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"] for folder in (plain, chosen)]
    assert difference(*states) is None


@pytest.mark.slow
def test_auto_is_recorded_as_what_it_was_and_resumed_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[bool] = []
    forward = RankingModule.training_step

    def spy(self: RankingModule, batch: object, index: int) -> torch.Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return forward(self, batch, index)  # type: ignore[arg-type]

    monkeypatch.setattr(RankingModule, "training_step", spy)
    _says(monkeypatch, True)
    arguments = _arguments(tmp_path, "native", "trainer.precision=auto", "trainer.limit_train_batches=2")
    train(*arguments)
    assert seen == [True, True]
    (folder,) = run_dirs(tmp_path, "native")
    assert read_record(folder).config["trainer"]["precision"] == "bf16-mixed"
    train(*arguments, "resume=last")  # as it was: nothing is left to do
    _says(monkeypatch, False)
    with pytest.raises(SystemExit):
        train(*arguments, "resume=last")
    message = " ".join(capsys.readouterr().err.split())
    assert "then, in" in message
    assert "trainer.precision=bf16-mixed" in message
    assert "now: trainer.precision=32-true" in message


@pytest.mark.slow
def test_products_of_float32_are_made_as_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    forward = RankingModule.training_step

    def spy(self: RankingModule, batch: object, index: int) -> torch.Tensor:
        seen.append(torch.get_float32_matmul_precision())
        return forward(self, batch, index)  # type: ignore[arg-type]

    monkeypatch.setattr(RankingModule, "training_step", spy)
    few = "trainer.limit_train_batches=1"
    train(*_arguments(tmp_path, "exact", few))
    train(*_arguments(tmp_path, "quick", few, "trainer.matmul_precision=high"))
    assert seen == ["highest", "high"]
    assert torch.get_float32_matmul_precision() == "highest"


def test_another_word_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(*_arguments(tmp_path, "wrong", "trainer.matmul_precision=tf32"))
    message = " ".join(capsys.readouterr().err.split())
    assert "trainer.matmul_precision" in message
    assert "highest" in message
