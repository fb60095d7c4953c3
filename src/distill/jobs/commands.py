"""The commands of `distill`: a line for each. Nothing of a job is imported before it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distill.screen.loading import load


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        name: After `distill`.
        says: What it does, in a line.
        job: The module whose `run` does it.
        config: The file of `conf/` that it composes; of a command without, `options` names the module that reads its
            arguments.
        options: See `config`.
    """

    name: str
    says: str
    job: str
    config: str | None = None
    options: str | None = None


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "schema",
            "init proposes a schema.yaml from raw files",
            "distill.jobs.schema",
            options="distill.jobs.schema_options",
        ),
        Command(
            "embed",
            "writes vectors of text by a frozen encoder",
            "distill.jobs.embed",
            options="distill.jobs.embed_options",
        ),
        Command("prepare", "turns raw logs into a prepared dataset", "distill.jobs.prepare", "prepare"),
        Command("train", "trains a ranker, or distils one into a pre-ranker", "distill.jobs.train", "config"),
        Command(
            "launch",
            "starts the ranks of a command on Ray, as torchrun does",
            "distill.jobs.launch",
            options="distill.jobs.launch_options",
        ),
        Command("score", "writes a teacher's logits beside a dataset", "distill.jobs.score", "score"),
        Command(
            "past_vectors",
            "writes a log with a teacher's vectors of each user's past",
            "distill.jobs.past_vectors",
            "past_vectors",
        ),
        Command("predict", "scores raw files, labelled or not", "distill.jobs.predict", "predict"),
        Command("export", "makes a bundle that a server uses without torch", "distill.jobs.export", "export"),
        Command(
            "serve",
            "answers requests with a bundle over HTTP",
            "distill.service.program",
            options="distill.service.options",
        ),
        Command("evaluate", "measures checkpoints on any data, a new day say", "distill.jobs.evaluate", "evaluate"),
        Command("cascade", "measures what users get with a student in the cascade", "distill.jobs.cascade", "cascade"),
        Command(
            "backtest",
            "trains on the first days of a log, measures the later ones",
            "distill.jobs.backtest",
            options="distill.jobs.backtest_options",
        ),
        Command(
            "feedback",
            "runs a cascade on its own log, round by round",
            "distill.jobs.feedback",
            options="distill.jobs.feedback_options",
        ),
        Command(
            "diversity",
            "what diversity costs: pages by quotas, MMR and DPP",
            "distill.jobs.diversity",
            options="distill.jobs.diversity_options",
        ),
        Command(
            "scaling",
            "what larger students, more data and larger teachers bring",
            "distill.jobs.scaling",
            options="distill.jobs.scaling_options",
        ),
        Command(
            "publish",
            "puts a folder into an object store, where commands read it by its URI",
            "distill.jobs.publish",
            options="distill.jobs.publish_options",
        ),
        Command("compare", "any runs in one table", "distill.jobs.compare", options="distill.jobs.compare_options"),
        Command("select", "chooses fields by a run's gates", "distill.jobs.select_fields", "select_fields"),
        Command(
            "data",
            "lists and deletes prepared datasets (ls, rm)",
            "distill.jobs.stored.data",
            options="distill.jobs.stored.data_options",
        ),
        Command(
            "cache",
            "lists and deletes cached teachers, controls and signals (ls, rm)",
            "distill.jobs.stored.cache",
            options="distill.jobs.stored.cache_options",
        ),
        Command("replay", "runs a step that failed again", "distill.jobs.replay", "replay"),
    )
}


def job(module: str) -> Callable[[Any], Any]:
    """Returns `run` of a module that is imported when it is called: reading a command line needs none of it."""

    def run(options: Any) -> Any:
        return load(module).run(options)

    return run
