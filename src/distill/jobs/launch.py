"""Starts the ranks of a command on Ray: each runs it as it would under torchrun."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from distill.engines.ray_cluster import RayOptions, await_lines, connected, own_lines
from distill.engines.ray_ranks import RankShape, run_ranks
from distill.jobs import app
from distill.jobs.commands import COMMANDS
from distill.jobs.in_process import raising
from distill.jobs.program import typed


def run(options: argparse.Namespace) -> None:
    """Runs `command` with `arguments` in `nnodes` × `nproc_per_node` processes.

    Raises:
        ConfigError: Ray cannot be had, or has no room.
        DistillError: The command raised it in a rank.
        RankError: A rank died.
    """
    shape = RankShape(options.nnodes, options.nproc_per_node, options.cpus, options.gpus)
    here = None if options.address is not None else shape.ranks * shape.cpus
    own_lines()
    with connected(RayOptions(options.address, here, asked_by="distill launch", prefix="--")) as ray:
        try:
            run_ranks(ray, shape, run_as_rank, (options.command, tuple(options.arguments)))
        finally:
            await_lines()


def run_as_rank(typed_words: tuple[str, Sequence[str]]) -> None:
    """Runs `distill COMMAND ARGUMENTS…` in this process, and raises its errors."""
    name, words = typed_words
    with typed(name, words):
        raising(lambda: app.run_command(COMMANDS[name]))
