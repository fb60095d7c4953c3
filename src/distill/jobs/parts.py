"""Builds the parts of a run from config, and models from checkpoints."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from distill.arguments import parameters
from distill.batch import Batch
from distill.data.format import Dataset
from distill.data.known_items import known_items
from distill.data.popularity import item_exposures
from distill.encodings import FittedEncodings, PackedEncodings
from distill.errors import ConfigError, DataError
from distill.features import EmbeddingTables, SequenceEncoding, TableFactory
from distill.jobs.bundle_model import BundleModel, bundle_encodings
from distill.jobs.construct import OF_BUILDER, TARGET, construct, nodes
from distill.jobs.node import build
from distill.jobs.trust import is_trusted, trusted
from distill.losses.composite import CompositeLoss
from distill.metrics import MetricSuite, NewItems, give_exposures, give_known_items
from distill.models.prerankers.base import PreRanker
from distill.plain import plain_data
from distill.schema import Schema, parse_schema
from distill.serving import Bundle
from distill.serving.manifest import is_bundle
from distill.training.carried import carried
from distill.training.checkpoint_io import read_checkpoint


def build_metrics(node: DictConfig | Mapping[str, Any], dataset: Dataset) -> MetricSuite:
    """Builds the metrics of a run, and tells them what they need to know of the dataset."""
    suite: MetricSuite = build(node, "metrics", MetricSuite)
    give_exposures(suite.metrics, item_exposures(dataset))
    if any(isinstance(metric, NewItems) for metric in suite.metrics.values()):
        encodings = FittedEncodings.load(dataset.root, dataset.manifest.encodings)
        give_known_items(suite.metrics, known_items(dataset.schema, encodings))
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


def widths(vectors: Mapping[str, Tensor]) -> dict[str, int]:
    """Returns the width of each vector `[N, width]`."""
    return {name: int(vector.shape[1]) for name, vector in vectors.items()}


def model_class(net: Mapping[str, Any], where: str) -> type[nn.Module]:
    """Returns the class of a model's config.

    Raises:
        ConfigError: It is not a module of this package, of torch.nn or of one that the command trusts.
    """
    found = _model_part(net.get(TARGET, "nothing"), f"{where}.{TARGET}")
    if not issubclass(found, nn.Module):
        raise ConfigError(
            "The target is not a model.", where=f"{where}.{TARGET}", expected="a torch module", found=found.__name__
        )
    return found


def check_net(net: Mapping[str, Any], where: str) -> None:
    """Finds every class that a model's config names, without building anything.

    Raises:
        ConfigError: One of them is not part of a model, or the outermost is not a model.
    """
    model_class(net, where)
    for inner, place in nodes(net, where):
        _model_part(inner[TARGET], f"{place}.{TARGET}")


def _model_part(target: Any, where: str) -> type[Any]:
    """Finds a class that may be part of a model; of nothing else a module is imported (see `distill.jobs.trust`)."""
    module, _, name = str(target).rpartition(".")
    if not is_trusted(module):
        raise ConfigError(
            "A model must be one of this package, of torch.nn or of a package that you trust.",
            where=where,
            expected=" or ".join(f"{package}.…" for package in trusted()),
            found=str(target),
            remedy="If the class is your own, say so in the command: trusted=[PACKAGE].",
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the import of a module raises
        raise ConfigError(
            "The model is not a class that can be imported.",
            where=where,
            found=f"{target}: {' '.join(str(error).split())[:300]}",
            remedy="Check the path of the class, and that its package is installed or on PYTHONPATH.",
        ) from error
    if not (isinstance(found, type) and issubclass(found, (nn.Module, SequenceEncoding))):
        raise ConfigError(
            "The target is not part of a model.",
            where=where,
            expected="a torch module or a way to encode sequences",
            found=str(target),
        )
    return found


def is_preranker(net: Mapping[str, Any], where: str) -> bool:
    """Whether a model's config names a pre-ranker."""
    return issubclass(model_class(net, where), PreRanker)


def build_model(
    net: Mapping[str, Any], schema: Schema, where: str, tables: TableFactory = EmbeddingTables
) -> nn.Module:
    """Builds a model for a schema.

    Args:
        net: Plain data; parts of models are all that it may name, since it may come from a checkpoint.
        schema: What the model reads.
        where: The place of `net`, for errors.
        tables: Builds its embedding tables, if it has any.

    Raises:
        ConfigError: It names something else, or a part does not take its arguments.
    """
    found: Callable[..., nn.Module] = model_class(net, where)
    for name in sorted(OF_BUILDER & net.keys()):
        raise ConfigError("This option cannot be set: the run supplies it.", where=f"{where}.{name}")
    given = {"schema": schema, "tables": tables} if "tables" in parameters(found) else {"schema": schema}
    model: nn.Module = construct(net, where, _model_part, **given)
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
        dataset: Fingerprint of the dataset that it was trained on; empty of a bundle.
        encodings: Of the fields that it reads; None of a checkpoint that was written before they carried any.
    """

    model: nn.Module
    schema: Schema
    dataset: str
    encodings: PackedEncodings | None = None

    def fitted(self, path: Path) -> FittedEncodings:
        """Returns the encodings, ready to encode.

        Args:
            path: Of the checkpoint, for the error.

        Raises:
            DataError: It does not carry any.
        """
        if self.encodings is None:
            raise without_encodings(path)
        return FittedEncodings.unpacked(self.encodings)


def without_encodings(path: Path) -> DataError:
    """Builds the error of a checkpoint that was written before they carried encodings."""
    return DataError(
        "The checkpoint does not carry its encodings, so the meaning of its ids is unknown.",
        where=str(path),
        remedy="Train the model again, or name the dataset that it was trained on, where one can be named.",
    )


@dataclass(frozen=True)
class Card:
    """What a file says of the model that it holds: plain data, never a config.

    Attributes:
        net: Of the model.
        schema: That it reads.
        dataset: Fingerprint of the dataset that it was trained on.
    """

    net: Mapping[str, Any]
    schema: Schema
    dataset: str


def read_card(card: Any, path: Path) -> Card:
    """Reads the card of a model from the content of a file: the one gate that it passes.

    Raises:
        DataError: It is not a card, or holds anything but plain data (see `plain_data`).
        SchemaError: Its schema is none.
    """
    if not isinstance(card, Mapping) or {"net", "schema", "dataset"} - card.keys():
        raise DataError(
            "The file does not say which model it holds.",
            where=str(path),
            expected="a checkpoint written by train.py (key `distill` with net, schema, dataset)",
        )
    net = plain_data(card["net"], f"{path}: net")
    if not isinstance(net, Mapping):
        raise DataError("The card of a model names no class.", where=f"{path}: net", found=type(net).__name__)
    return Card(net, parse_schema(card["schema"], f"{path}: schema"), str(card["dataset"]))


def load_model(path: Path, tables: TableFactory = EmbeddingTables) -> LoadedModel:
    """Loads a model from a checkpoint of a run, or from a bundle; executes no code from it.

    Args:
        path: The file, or the folder of a bundle.
        tables: Builds the embedding tables, whose rows are loaded then.

    Raises:
        DataError: The checkpoint is missing, damaged, not of a run, or its card holds more than plain data.
        ConfigError: Its card names a class that is not a model of this package or of torch.nn.
    """
    if is_bundle(path):
        bundle = Bundle.load(path)
        return LoadedModel(BundleModel(bundle).eval(), bundle.schema, "", bundle_encodings(bundle))
    checkpoint = read_checkpoint(path)
    card = read_card(checkpoint.get("distill"), path)
    model = build_model(card.net, card.schema, f"{path}: net", tables)
    prefix = "model."
    weights = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError("The weights do not fit the model.", where=str(path), found=str(error)[:300]) from error
    return LoadedModel(model.eval(), card.schema, card.dataset, carried(checkpoint, card.schema.fields, path))
