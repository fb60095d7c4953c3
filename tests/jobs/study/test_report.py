"""The command that runs the best settings again."""

from __future__ import annotations

import shlex

from distill.jobs.study.report import again


def test_command_keeps_what_is_no_study_and_quotes() -> None:
    given = ["+sweep=optuna", "+experiment=e", "study.n_trials=4", "optuna/pruner@study.pruner=none", "seed=3"]
    given += ["lr=interval(0.1,1.0)", "~loss.terms.hard", "paths.runs='a b'"]
    command = again(given, {"lr": 0.25, "model.units": "[4,4]"}, [4, 5])
    assert shlex.split(command) == [
        *("python", "train.py", "-m", "+experiment=e", "~loss.terms.hard", "paths.runs='a b'"),
        *("lr=0.25", "model.units=[4,4]", "seed=4,5"),
    ]
