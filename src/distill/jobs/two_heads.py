"""Builds a student that the teacher trains through a head of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from distill.features import TableFactory
from distill.jobs.parts import build_model
from distill.models.cost.random_batch import random_batch
from distill.schema import Schema
from distill.training.second_head import SecondHead, with_second_head


def build_two_headed(
    net: Mapping[str, Any], schema: Schema, where: str, tables: TableFactory
) -> tuple[nn.Module, SecondHead]:
    """Builds a model with a second head, and what of it is served. See `build_model`.

    Raises:
        ConfigError: As `build_model`; or the model cannot have one.
    """
    model = build_model(net, with_second_head(schema), where, tables)
    served = build_model(net, schema, where)
    return model, SecondHead.of(model, served, random_batch(schema, [2, 3]), "model.head")
