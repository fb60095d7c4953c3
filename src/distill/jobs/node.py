"""Builds what a node of the user's config names; loads no more code than that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill.jobs.construct import TARGET, construct
from distill.jobs.targets import run_part


def build(node: DictConfig | Mapping[str, Any], where: str, kind: type[Any] = object, /, **arguments: Any) -> Any:
    """Builds a node of the user's config that names a `_target_`; what files hold goes through `build_model`.

    Args:
        node: The node.
        where: Its place, for errors.
        kind: What the target must be.
        **arguments: Given to the target beside the node's own.

    Raises:
        ConfigError: The target is not part of a run (see `run_part`) or does not take the arguments.
    """
    content = plain(node)
    if isinstance(content, Mapping) and TARGET in content:
        run_part(content[TARGET], f"{where}.{TARGET}", kind)
    return construct(content, where, run_part, **arguments)


def plain(node: Any) -> Any:
    """Resolves a config node to plain data."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
