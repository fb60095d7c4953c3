"""After a study: a table of its trials, the best one, and the command that runs it again with several seeds."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from distill.console import report_console
from distill.files import write_text_atomic
from distill.jobs.app import FAILED
from distill.jobs.program import train_command
from distill.jobs.study.settings import resolved_study
from distill.reports.trials import TrialRow, ranked, save_trials, trials_markdown, trials_table

if TYPE_CHECKING:  # Hydra builds the callback before the sweeper can say that optuna is missing
    from optuna.trial import FrozenTrial

TRIALS = "trials"
_SEEDS = 3
_OF_THE_STUDY = ("sweep", "study.", "optuna/", "hydra")


class TrialsAtEnd(Callback):
    """Hydra callback: prints the trials of a study and writes `trials.json` and `.md` into the sweep's folder."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Shows all trials, also of earlier sweeps; with a failed one, or none complete, the sweep has failed."""
        from distill.jobs.study.storage import open_study

        node, folder = resolved_study(config), Path(config.hydra.sweep.dir)
        trials = open_study(node).trials
        rows = ranked([_row(trial) for trial in trials], str(node.mode) == "max")
        objective = str(node.objective)
        console = report_console()
        counts = {state: sum(row.state == state for row in rows) for state in ("complete", "pruned", "fail")}
        title = f"{len(rows)} trials: " + ", ".join(f"{n} {state}" for state, n in counts.items() if n)
        console.print(trials_table(rows, objective, title))
        save_trials(rows, objective, folder / f"{TRIALS}.json")
        text = trials_markdown(rows, objective)
        if counts["complete"]:
            command = again(list(config.hydra.overrides.task), rows[0].params, _fresh(node.seeds or [config.seed]))
            console.print(f"Again with the settings of trial {rows[0].number}, and seeds that they were not chosen on:")
            console.print(f"  {command}", soft_wrap=True, highlight=False, markup=False)
            text += f"\n```\n{command}\n```\n"
        write_text_atomic(folder / f"{TRIALS}.md", text)
        console.print(f"Study: {node.storage}; table: {folder / TRIALS}.md and .json", soft_wrap=True)
        if not counts["complete"] or counts["fail"]:
            sys.exit(FAILED)


def again(arguments: Sequence[str], params: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """Writes the command that runs given settings with given seeds.

    Args:
        arguments: Of the study's command line.
        params: Override key to the value that was chosen.
        seeds: Of the runs.
    """
    kept = []
    for text in arguments:
        override = OverridesParser.create().parse_override(text)
        key = override.get_key_element().lstrip("+~")
        if key != "seed" and not key.startswith(_OF_THE_STUDY) and not override.is_sweep_override():
            kept.append(text)
    chosen = [f"{key}={value}" for key, value in params.items()]
    return shlex.join([*train_command(), "-m", *kept, *chosen, "seed=" + ",".join(map(str, seeds))])


def _fresh(seeds: Sequence[int]) -> list[int]:
    first = max(map(int, seeds)) + 1
    return list(range(first, first + _SEEDS))


def _row(trial: FrozenTrial) -> TrialRow:
    state = trial.state.name.lower()
    value = trial.value if state in ("complete", "pruned") else None
    return TrialRow(trial.number, state, value, len(trial.intermediate_values), dict(trial.params))
