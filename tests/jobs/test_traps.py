"""Text that becomes a call when a config resolves it, in every file that an entry point reads: it stays text."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from distill.files import hash_file
from distill.sealed import read_sealed, write_sealed
from distill.training.checkpoint_io import read_checkpoint
from tests.jobs.entry import path_arguments, replay, run_dirs, run_script, tiny_arguments, train

pytestmark = pytest.mark.slow  # test_no_code.py has what make test looks at

_STUDENT = "+experiment=funnel/two_tower"


def tiny(root: Path) -> list[str]:
    return [a for a in tiny_arguments(root) if not a.startswith("teacher.")]


def call(trap: Path) -> str:
    return f"${{oc.create:{{_target_:os.mkdir,_args_:['{trap}']}}}}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of two harmless runs: a ranker and a model whose fields can be selected."""
    root = tmp_path_factory.mktemp("traps")
    train("+experiment=funnel/teacher_dcn_v2", *tiny(root), "name=ranker")
    train("model=cold", *tiny(root), "name=gated")
    return root


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    return tmp_path / "trap"


def checkpoint(root: Path, name: str) -> Path:
    return run_dirs(root, name)[0] / "checkpoints" / "best.ckpt"


def poison(path: Path, out: Path, trap: Path, *, body: bool = False) -> Path:
    """Copies a file with a card, adding the trap to it."""
    content = dict(read_checkpoint(path))
    key = "card" if "card" in content else "distill"
    card = dict(content[key])
    net = dict(card["net"])
    if body:
        net["body"] = {**net["body"], "norm": call(trap)}
    else:
        net["extra"] = call(trap)
    content[key] = {**card, "net": net}
    torch.save(content, out)
    return out


def refused(capsys: pytest.CaptureFixture[str], trap: Path, run: Callable[..., None], *arguments: str) -> str:
    """Runs a tool that must end with an error of ours, and returns what it said."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    message = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 2, message
    assert "Traceback" not in message
    assert not trap.exists()
    return message


@pytest.mark.slow
def test_teachers(runs: Path, tmp_path: Path, trap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scored, used as they are, cached, and as members of an ensemble."""
    evil = poison(checkpoint(runs, "ranker"), tmp_path / "evil.ckpt", trap)
    student = ("model=two_tower", "metrics=funnel", "loss=pointwise", *tiny(runs), f"paths.cache={tmp_path / 'cache'}")
    commands: list[tuple[Callable[..., None], Sequence[str]]] = [
        (
            lambda *a: run_script("scripts/score.py", *a),
            ("data=funnel_tiny", f"teacher.path={evil}", "trainer=cpu", *path_arguments(runs)),
        ),
        (train, (*student, "teacher=checkpoint", f"teacher.path={evil}", "teacher.signals=cached")),
        (train, (*student, "teacher=checkpoint", f"teacher.path={evil}", "teacher.signals=online")),
        (train, (*student, "teacher=ensemble", f"teacher.members=[{evil},{evil}]")),
    ]
    for run, arguments in commands:
        message = refused(capsys, trap, run, *arguments)
        assert "would execute" in message
        assert "evil.ckpt: net.extra" in message
        assert "_target_:os.mkdir" in message


def test_a_run_that_is_resumed_and_tested(
    runs: Path, tmp_path: Path, trap: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(_STUDENT, *tiny(tmp_path), "name=run", "cost.enabled=true", "cost.seconds=0")
    (run,) = run_dirs(tmp_path, "run")
    for name in ("last.ckpt", "best.ckpt"):
        poison(run / "checkpoints" / name, run / "checkpoints" / name, trap)
    arguments = (_STUDENT, *tiny(tmp_path), "name=run", "cost.enabled=true", "cost.seconds=0", "resume=last")
    assert "best.ckpt: net.extra" in refused(capsys, trap, train, *arguments)


@pytest.mark.slow
def test_a_step_that_is_replayed(tmp_path: Path, trap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (_STUDENT, *tiny(tmp_path), "name=run", "loss.terms.hard.weight=1e39")
    refused(capsys, trap, train, *arguments)
    (step,) = (run_dirs(tmp_path, "run")[0] / "checkpoints").glob("non_finite_step0_rank0.pt")
    evil = poison(step, tmp_path / "evil.pt", trap, body=True)
    assert "evil.pt: net.body.norm" in refused(capsys, trap, replay, *arguments, f"step={evil}")


@pytest.mark.slow
def test_a_run_whose_fields_are_selected(
    runs: Path, tmp_path: Path, trap: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def select(run: Path) -> str:
        arguments = (f"run={run}", f"out={tmp_path / 'out'}", f"paths.runs={runs / 'runs'}")
        return refused(capsys, trap, lambda *a: run_script("scripts/select_fields.py", *a), *arguments)

    gated = run_dirs(runs, "gated")[0]
    card, config, name = (Path(shutil.copytree(gated, tmp_path / n)) for n in ("card", "config", "name"))
    poison(card / "checkpoints" / "best.ckpt", card / "checkpoints" / "best.ckpt", trap)
    assert "best.ckpt: net.extra" in select(card)
    content = yaml.safe_load((config / "config.yaml").read_text(encoding="utf-8"))
    content["model"]["net"]["extra"] = call(trap)
    (config / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert "config.yaml.model.net.extra" in select(config)
    for key, value in (("name", call(trap)), ("overrides", [f"+experiment={call(trap)}"])):
        change_json(name / "summary.json", key, value)
        select(name)
        change_json(name / "summary.json", key, "harmless" if key == "name" else [])
    assert not list((tmp_path / "out").glob("*.yaml"))


def change_json(path: Path, key: str, value: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, key: value}), encoding="utf-8")


def forge(path: Path, key: str, value: Any) -> None:
    """Changes a record and the hash that it carries."""
    write_sealed(path, {**read_sealed(path), key: value})


def test_runs_that_are_compared(runs: Path, tmp_path: Path, trap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(run_dirs(runs, "gated")[0], tmp_path / "run"))
    change_json(run / "summary.json", "name", call(trap))
    change_json(run / "summary.json", "overrides", [f"model.net.extra={call(trap)}"])
    capsys.readouterr()
    run_script("scripts/compare.py", str(run), str(run_dirs(runs, "gated")[0]), "--out", str(tmp_path / "out"))
    assert "oc.create" in capsys.readouterr().out
    assert not trap.exists()


@pytest.mark.slow
def test_a_cached_teacher(tmp_path: Path, trap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The entry is forged whole: its hash is that of the file."""
    arguments = ("+experiment=quickstart", "control.enabled=false", *tiny_arguments(tmp_path))
    train(*arguments, "name=first")
    (entry,) = (tmp_path / "cache").glob("**/result.json")
    path = entry.parent / json.loads(entry.read_text(encoding="utf-8"))["checkpoint"]
    poison(path, path, trap)
    forge(entry, "blake2b", hash_file(path))
    shutil.rmtree(tmp_path / "cache" / "signals")
    assert "net.extra" in refused(capsys, trap, train, *arguments, "name=second")
    elsewhere = shutil.copy(path, tmp_path / "elsewhere.ckpt")
    forge(entry, "checkpoint", str(elsewhere))
    capsys.readouterr()
    train(*arguments, "name=third")  # not used: trained again
    assert json.loads(entry.read_text(encoding="utf-8"))["checkpoint"] != str(elsewhere)


def test_signals_and_prepared_data(runs: Path, tmp_path: Path, trap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their records are refused, or taken as the text that they are."""
    score = ("data=funnel_tiny", f"teacher.path={checkpoint(runs, 'ranker')}", "trainer=cpu", *path_arguments(runs))
    run_script("scripts/score.py", *score, f"out={tmp_path / 'signals'}")
    forge(tmp_path / "signals" / "provenance.json", "dataset", call(trap))
    student = ("model=two_tower", "metrics=funnel", "loss=pointwise", *tiny(runs), "teacher=column")
    refused(capsys, trap, train, *student, f"teacher.path={tmp_path / 'signals'}")
    (prepared,) = (path.parent for path in (runs / "data").glob("*/manifest.json"))
    for name, key in (("manifest.json", "fingerprint"), ("schema.yaml", "name")):
        data = tmp_path / "data"
        shutil.copytree(prepared, data)
        content = yaml.safe_load((data / name).read_text(encoding="utf-8"))
        text = json.dumps({**content, key: call(trap)})  # which is YAML too
        (data / name).write_text(text, encoding="utf-8")
        own = [a for a in tiny(tmp_path) if not a.startswith("data=")]
        with contextlib.suppress(SystemExit):
            train(_STUDENT, *own, "data=prepared", f"data.root={data}", f"name={key}")
        assert "Traceback" not in capsys.readouterr().err
        assert not trap.exists()
        shutil.rmtree(data)


def test_the_trials_of_a_study(tmp_path: Path, trap: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A running trial goes on with the parameters that the journal holds."""
    optuna = pytest.importorskip("optuna")
    from optuna.distributions import CategoricalDistribution
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    sweep = tmp_path / "sweep"
    sweep.mkdir()
    storage = JournalStorage(JournalFileBackend(str(sweep / "study.journal")))
    study = optuna.create_study(storage=storage, study_name="study", direction="maximize")
    trial = study.ask({"optimizer.lr": CategoricalDistribution([call(trap)])})
    trial.set_user_attr("folder", str(sweep))
    arguments = ("-m", "+sweep=optuna", _STUDENT, *tiny(tmp_path), f"hydra.sweep.dir={sweep}", "study.n_trials=1")
    space = ("~study.params", "optimizer.lr=0.01,0.02", "study.name=study", "study.mode=max")
    assert "not drawn from its space" in refused(capsys, trap, train, *arguments, *space)
