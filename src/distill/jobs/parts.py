"""Builds the parts of a run from config, and models from checkpoints."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from distill.batch import Batch
from distill.data.format import Dataset
from distill.data.popularity import item_exposures
from distill.errors import ConfigError, DataError, DistillError
from distill.features import SequenceEncoding
from distill.jobs.targets import check_targets
from distill.losses.composite import CompositeLoss
from distill.metrics import MetricSuite, give_exposures
from distill.models.prerankers.base import PreRanker
from distill.schema import Schema, parse_schema
from distill.training.checkpoint_io import read_checkpoint

_MODEL_MODULES = ("distill.models.", "distill.features.", "distill.layers.", "torch.nn.")


def build(node: DictConfig | Mapping[str, Any], where: str, kind: type[Any] = object, /, **arguments: Any) -> Any:
    """Instantiates a config node that names a `_target_`: the only place where a config makes something be called.

    Args:
        node: The node.
        where: Its place, for errors.
        kind: What the target must be.
        **arguments: Given to the target beside the node's own.

    Raises:
        ConfigError: The target is no part of a run (see `check_targets`) or does not take the arguments.
    """
    content = plain(node)
    check_targets(content, where, kind)
    try:
        return instantiate(content, _convert_="all", **arguments)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, DistillError):
                raise cause from error
            cause = cause.__cause__
        raise ConfigError(
            "A part of the config cannot be built.", where=where, found=" ".join(str(error).split())[:500]
        ) from error


def plain(node: Any) -> Any:
    """Resolves a config node to plain data."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def build_metrics(node: DictConfig, dataset: Dataset) -> MetricSuite:
    """Builds the metrics of a run, and tells them what they need to know of the dataset."""
    suite: MetricSuite = build(node, "metrics", MetricSuite)
    give_exposures(suite.metrics, item_exposures(dataset))
    return suite


def build_loss(node: Mapping[str, Any], where: str) -> CompositeLoss:
    """Builds a loss.

    Raises:
        ConfigError: The node is none.
    """
    loss = build(node, where)
    if not isinstance(loss, CompositeLoss):
        raise ConfigError("The loss must be a CompositeLoss.", where=where, found=str(type(loss)))
    return loss


@torch.no_grad()
def hidden_vectors(model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
    """Runs a model in evaluation mode for its hidden vectors, and leaves it in the mode that it was in."""
    mode = model.training
    hidden: Mapping[str, Tensor] = model.eval()(batch).hidden
    model.train(mode)
    return hidden


def model_class(net: Mapping[str, Any], where: str) -> type[nn.Module]:
    """Returns the class of a model's config, after checking every `_target_` in it.

    Raises:
        ConfigError: A `_target_` is not a module of this package or of torch.nn.
    """
    found = _part_class(net, where)
    if not issubclass(found, nn.Module):
        raise ConfigError(
            "The target is not a model.", where=f"{where}._target_", expected="a torch module", found=found.__name__
        )
    return found


def _part_class(net: Mapping[str, Any], where: str) -> type[Any]:
    for key, value in net.items():
        _check_nested(value, f"{where}.{key}")
    target = str(net.get("_target_", ""))
    module, _, name = target.rpartition(".")
    if not f"{module}.".startswith(_MODEL_MODULES):
        raise ConfigError(
            "A model must be one of this package or of torch.nn.",
            where=f"{where}._target_",
            expected=" or ".join(f"{m}…" for m in _MODEL_MODULES),
            found=target or "nothing",
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError("The model does not exist.", where=f"{where}._target_", found=target) from error
    if not (isinstance(found, type) and issubclass(found, (nn.Module, SequenceEncoding))):
        raise ConfigError(
            "The target is no part of a model.",
            where=f"{where}._target_",
            expected="a torch module or a way to encode sequences",
            found=target,
        )
    return found


def _check_nested(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        if "_target_" in value:
            _part_class(value, where)
        for key, item in value.items():
            _check_nested(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _check_nested(item, f"{where}[{i}]")


def is_preranker(net: Mapping[str, Any], where: str) -> bool:
    """Whether a model's config names a pre-ranker."""
    return issubclass(model_class(net, where), PreRanker)


def build_model(net: Mapping[str, Any], schema: Schema, where: str) -> nn.Module:
    """Builds a model for a schema."""
    model_class(net, where)  # refuses foreign targets before anything is called
    model = build(net, where, schema=schema)
    if not isinstance(model, nn.Module):
        raise ConfigError("The target did not build a model.", where=where, found=type(model).__name__)
    return model


def model_card(net: Mapping[str, Any], schema: Schema, fingerprint: str) -> dict[str, Any]:
    """Returns the plain data with which a checkpoint can be loaded alone."""
    return {"net": dict(net), "schema": schema.model_dump(mode="json"), "dataset": fingerprint}


@dataclass(frozen=True)
class LoadedModel:
    """A trained model.

    Attributes:
        model: With its weights, in evaluation mode.
        schema: The view of the schema that it was trained with.
        dataset: Fingerprint of the dataset that it was trained on.
    """

    model: nn.Module
    schema: Schema
    dataset: str


def load_model(path: Path) -> LoadedModel:
    """Loads a model from a checkpoint of a run; executes no code from it.

    Raises:
        DataError: The checkpoint is missing, damaged or not of a run.
        ConfigError: Its config names a class that is not a model of this package or of torch.nn.
    """
    checkpoint = read_checkpoint(path)
    card = checkpoint.get("distill")
    if not isinstance(card, Mapping) or {"net", "schema", "dataset"} - card.keys():
        raise DataError(
            "The checkpoint does not say which model it holds.",
            where=str(path),
            expected="a checkpoint written by train.py (key `distill` with net, schema, dataset)",
        )
    schema = parse_schema(card["schema"], f"{path}: schema")
    model = build_model(card["net"], schema, f"{path}: net")
    prefix = "model."
    weights = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError("The weights do not fit the model.", where=str(path), found=str(error)[:300]) from error
    return LoadedModel(model.eval(), schema, str(card["dataset"]))
