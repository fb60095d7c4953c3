"""A moving average of weights: computed by hand, measured, saved as the model, and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from distill.errors import DataError
from distill.training.callbacks import KeptGradients, WeightAverage
from distill.training.callbacks.weight_average import EXACT_AVERAGES, TRAINING_WEIGHTS
from distill.training.checkpoint_io import read_checkpoint
from tests.training.callbacks.averaging import BATCHES, Model, SaveAt, StoredModel, copied, fit

DECAY = 0.6


def _averages(steps: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """The average after each step, of floating-point values, by the formula."""
    average, found = copied(Model().model), []
    for n, weights in enumerate(steps):
        decay = min(DECAY, (1 + n) / (10 + n))
        average = {
            name: decay * value + (1 - decay) * weights[name] if value.is_floating_point() else weights[name]
            for name, value in average.items()
        }
        found.append(average)
    return found


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_is_measured_and_saved_and_the_weights_train_on(accumulate: int, tmp_path: Path) -> None:
    averaged, trainer = fit(tmp_path, WeightAverage(DECAY), accumulate=accumulate)
    plain, _ = fit(tmp_path, accumulate=accumulate)
    epoch = -(-BATCHES // accumulate)
    assert len(averaged.trained) == 2 * epoch
    for mine, others in zip(averaged.trained, plain.trained, strict=True):
        torch.testing.assert_close(mine, others, rtol=0, atol=0)
    expected = _averages(averaged.trained)
    for measured, wanted in zip(averaged.measured, (expected[epoch - 1], expected[-1]), strict=True):
        torch.testing.assert_close(measured, wanted)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    checkpoint = read_checkpoint(tmp_path / "x.ckpt")
    state = checkpoint["state_dict"]
    torch.testing.assert_close({n: state[f"model.{n}"] for n in expected[-1]}, expected[-1])
    torch.testing.assert_close(state["beside.weight"], averaged.beside.weight.detach(), rtol=0, atol=0)
    for name, value in checkpoint[TRAINING_WEIGHTS].items():
        assert torch.equal(value, averaged.trained[-1][name])


@pytest.mark.parametrize(("accumulate", "batch"), [(1, 2), (3, 2), (3, 3), (3, 4)])
def test_an_interrupted_run_goes_on_to_the_same_bits(accumulate: int, batch: int, tmp_path: Path) -> None:
    """Also in the middle of the batches of an optimiser step."""
    path = tmp_path / "x.ckpt"
    save = SaveAt(path, batch)
    whole, trainer = fit(tmp_path, WeightAverage(DECAY), KeptGradients(), save, accumulate=accumulate)
    resumed, other = fit(tmp_path, WeightAverage(DECAY), KeptGradients(), resumed=path, accumulate=accumulate)
    for model, own in ((whole, trainer), (resumed, other)):
        own.save_checkpoint(tmp_path / f"{id(model)}.ckpt")
    first, second = (read_checkpoint(tmp_path / f"{id(model)}.ckpt") for model in (whole, resumed))
    assert first["global_step"] == second["global_step"]
    for key in ("state_dict", TRAINING_WEIGHTS):
        torch.testing.assert_close(first[key], second[key], rtol=0, atol=0)
    for kind, state in first["optimizer_states"][0].items():
        torch.testing.assert_close(state["state"], second["optimizer_states"][0][kind]["state"], rtol=0, atol=0)
    torch.testing.assert_close(whole.measured, resumed.measured, rtol=0, atol=0)


def test_a_step_in_progress_is_not_forgotten(tmp_path: Path) -> None:
    """Without its gradients the run would not be the same."""
    path = tmp_path / "x.ckpt"
    whole, _ = fit(tmp_path, KeptGradients(), SaveAt(path, 4), accumulate=3)
    kept, _ = fit(tmp_path, KeptGradients(), resumed=path, accumulate=3)
    lost, _ = fit(tmp_path, resumed=path, accumulate=3)
    assert torch.equal(whole.model[2].weight, kept.model[2].weight)
    assert not torch.equal(whole.model[2].weight, lost.model[2].weight)
    fit(tmp_path, KeptGradients(), SaveAt(path, 2), accumulate=3)
    assert "distill_kept_gradients" not in read_checkpoint(path)


def test_a_checkpoint_without_weights_of_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    fit(tmp_path, SaveAt(path, 2), epochs=1)
    with pytest.raises(DataError, match="continue with"):
        fit(tmp_path, WeightAverage(DECAY), resumed=path)


def test_the_average_of_a_table_in_bfloat16_is_exact_and_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    path, name = tmp_path / "x.ckpt", "0.weight"
    callbacks = (WeightAverage(DECAY), KeptGradients())
    whole, trainer = fit(tmp_path, *callbacks, SaveAt(path, 3), accumulate=3, kind=StoredModel)
    trainer.save_checkpoint(tmp_path / "whole.ckpt")
    average = StoredModel().model.state_dict()[name].float()
    for n, weights in enumerate(whole.trained):
        decay = min(DECAY, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * weights[name].float()
    found = read_checkpoint(tmp_path / "whole.ckpt")
    torch.testing.assert_close(found[EXACT_AVERAGES], {name: average})
    assert torch.equal(found["state_dict"][f"model.{name}"], found[EXACT_AVERAGES][name].bfloat16())
    assert torch.equal(whole.measured[-1][name], found["state_dict"][f"model.{name}"])
    assert torch.equal(found[TRAINING_WEIGHTS][name], whole.trained[-1][name])
    _, other = fit(tmp_path, WeightAverage(DECAY), KeptGradients(), resumed=path, accumulate=3, kind=StoredModel)
    other.save_checkpoint(tmp_path / "resumed.ckpt")
    resumed = read_checkpoint(tmp_path / "resumed.ckpt")
    for key in ("state_dict", TRAINING_WEIGHTS, EXACT_AVERAGES):
        torch.testing.assert_close(resumed[key], found[key], rtol=0, atol=0)
    for kind, state in found["optimizer_states"][0].items():
        torch.testing.assert_close(resumed["optimizer_states"][0][kind]["state"], state["state"], rtol=0, atol=0)


def test_exact_averages_are_those_of_the_model_or_the_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    fit(tmp_path, WeightAverage(DECAY), SaveAt(path, 2), epochs=1)
    with pytest.raises(DataError, match="exact averages"):
        fit(tmp_path, WeightAverage(DECAY), resumed=path, kind=StoredModel)
