"""A warm start of the optimiser: what it knew of the weights that were taken, each row of a table by its raw value."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn
from typing_extensions import override

from distill.errors import ConfigError, DataError
from distill.jobs.warm_start import Taken
from distill.training.checkpoint_io import read_checkpoint
from distill.training.combined import CombinedOptimizer
from distill.training.moved_rows import ROUNDING_STATE
from distill.training.row_regularization import ROW_COUNTS
from distill.training.small_tables import SMALL_STATE

State = dict[str, Any]
_MODEL = "model."
_ANEW = ROW_COUNTS | SMALL_STATE | ROUNDING_STATE  # of steps of this run, or not by row
_ADAM = {"step", "exp_avg", "exp_avg_sq"}  # which Adam makes at its first step


class WarmOptimizer(pl.Callback):
    """Gives an optimiser, before its first step, what the one of a checkpoint knew of the weights that a model took.

    Moments of dense weights are taken whole, those of table rows with the rows. Learning rates are those of this run.

    Args:
        model: Which began with the checkpoint's weights.
        taken: What it took.
        checkpoint: Of any model.
        where: The key of the config that asks for it.

    Raises:
        DataError: The checkpoint has no state of an optimiser.
    """

    def __init__(self, model: nn.Module, taken: Taken, checkpoint: Path, where: str) -> None:
        self._taken = taken
        self._where = where
        self._checkpoint = checkpoint
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._old = _by_name(checkpoint)

    def says(self) -> str:
        """Says how much it takes."""
        dense = sum(name in self._old for name in self._names.values() if name in self._taken.dense)
        rows = sum(len(moved.to) for moved in self._taken.moved if moved.name in self._old)
        return f"the state of its optimiser goes on for {dense} dense weights and {rows:,} rows of tables."

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fills in the states.

        Raises:
            ConfigError: The optimiser of the tables is another kind than the checkpoint's.
        """
        (optimizer,) = trainer.optimizers
        assert isinstance(optimizer, CombinedOptimizer)
        state = optimizer.state_dict()
        for part, own in optimizer.optimizers.items():
            position = 0
            for group in own.param_groups:
                for parameter in group["params"]:
                    name = self._names.get(id(parameter))
                    found = None if name is None else self._of(name, parameter, state[part]["state"].get(position, {}))
                    if found is not None:
                        state[part]["state"][position] = found
                    position += 1
        optimizer.load_state_dict(state)

    def _of(self, name: str, parameter: Tensor, initial: State) -> State | None:
        """Returns the state of a parameter; None if nothing of it was taken."""
        if name in self._taken.dense:
            found = self._old.get(name)
            return found if found is not None and _fits(found, parameter) else None
        moves = [moved for moved in self._taken.moved if moved.name == name]
        old = {key: value for key, value in self._old.get(name, {}).items() if key not in _ANEW}
        if not moves or not old:
            return None
        self._check_kind(initial.keys() - _ANEW or _ADAM, old.keys())
        state = _nothing(old, parameter) | _copied(initial)
        for moved in moves:
            for key, value in old.items():
                if _is_by_row(value):
                    state[key][moved.to.to(state[key].device)] = value[moved.source].to(state[key])
        return state

    def _check_kind(self, own: Set[str], old: Set[str]) -> None:
        if own != old:
            raise ConfigError(
                "The optimiser of the tables is another one than that of the checkpoint.",
                where=self._where,
                expected=f"one with {', '.join(sorted(old))}",
                found=f"one with {', '.join(sorted(own))}",
                remedy="Set optimizer.embedding as it was, or leave the state out.",
            )


def _is_by_row(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0


def _fits(state: State, parameter: Tensor) -> bool:
    """Whether it is of the same shape: of a weight that holds a second head, a model without one has the half."""
    return all(value.shape == parameter.shape for value in state.values() if _is_by_row(value))


def _copied(state: State) -> State:
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()}


def _nothing(like: State, parameter: Tensor) -> State:
    """The state of a parameter whose optimiser makes it at the first step: moments are 0, steps are counted on."""
    return {
        key: value.new_zeros((parameter.shape[0], *value.shape[1:])) if _is_by_row(value) else value
        for key, value in like.items()
    }


def _by_name(checkpoint: Path) -> dict[str, State]:
    """Reads the states of an optimiser by the names of the model's parameters."""
    states = read_checkpoint(checkpoint).get("optimizer_states") or [{}]
    found: dict[str, State] = {}
    for part in states[0].values():
        if not isinstance(part, Mapping) or not {"state", "param_groups"} <= part.keys():
            continue
        names = [name for group in part["param_groups"] for name in group.get("param_names", [])]
        found |= {
            name.removeprefix(_MODEL): part["state"][position]
            for position, name in enumerate(names)
            if name.startswith(_MODEL) and position in part["state"]
        }
    if not found:
        raise DataError(
            "The checkpoint has no state of an optimiser.",
            where=str(checkpoint),
            expected="a checkpoint of a training by steps",
            remedy="Leave it out: model.init_optimizer=false.",
        )
    return found
