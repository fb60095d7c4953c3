"""The whole way of COLD's selection: train with gates, select within a budget, train again, draw the curve."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from distill.jobs.parts import load_model
from distill.models.cost import online_flops
from distill.models.prerankers.cold import Cold
from distill.reports.summary import load_summary
from tests.jobs.entry import run_dirs, run_script, tiny_arguments, train

_COSTS = ("cost.enabled=true", "cost.seconds=0")


def _alone(root: Path) -> list[str]:
    return [argument for argument in tiny_arguments(root) if not argument.startswith("teacher.")] + [*_COSTS]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("cold")
    train("model=cold", "name=gated", *_alone(root))
    return root, run_dirs(root, "gated")[0]


def _select(root: Path, *arguments: str) -> Path:
    out = root / "configs" / "experiment" / "selected"
    run_script("scripts/select_fields.py", f"out={out}", *arguments, f"paths.runs={root / 'runs'}")
    return out


def _groups(run: Path) -> list[str]:
    model = load_model(run / "checkpoints" / "best.ckpt").model
    return list(model.fields.groups)  # type: ignore[union-attr, arg-type]


@pytest.mark.slow
def test_selects_trains_again_and_draws(trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    root, run = trained
    out = _select(root, f"run={run}", "name=few")
    shown = capsys.readouterr().out
    assert "cost so far" in shown
    experiments = sorted(out.glob("few-flops_*.yaml"), key=lambda path: float(path.stem.rpartition("_")[2]))
    assert len(experiments) == 3
    fields = [yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["net"]["fields"] for path in experiments]
    assert fields[1][: len(fields[0])] == fields[0], "the best groups first"
    assert len(fields[0]) < len(fields[2])
    smallest = experiments[0]
    text = smallest.read_text(encoding="utf-8")
    assert text.startswith("# @package _global_\n# The ")
    assert "model=cold" in text
    config_dir = ["--config-dir", str(root / "configs")]
    tiny = _alone(root)
    train(*config_dir, "model=cold", f"+experiment=selected/{smallest.stem}", *tiny)
    again = run_dirs(root, f"selected/{smallest.stem}")[0]
    loaded = load_model(again / "checkpoints" / "best.ckpt")
    assert isinstance(loaded.model, Cold)
    assert {f for group in loaded.model.fields.groups.values() for f in group} == set(fields[0])
    limit = float(smallest.stem.rpartition("_")[2])
    assert online_flops(loaded.model, loaded.schema)[1].flops <= limit
    summaries = [load_summary(folder) for folder in (again, run)]
    _select(root, f"curve=[{run},{again}]")
    rows = list(csv.DictReader((out / "budget_curve.csv").open(encoding="utf-8")))
    assert [row["name"] for row in rows] == [summaries[0].name, "gated"]
    assert [float(row["click/auc"]) for row in rows] == [s.metrics["model"]["click/auc"] for s in summaries]
    assert (out / "budget_curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("order", ["gate", "gate_per_cost"])
@pytest.mark.slow
def test_a_number_of_groups_is_a_budget(trained: tuple[Path, Path], order: str) -> None:
    root, run = trained
    out = _select(root, f"run={run}", f"name={order}", "budget.metric=groups", "budget.limits=[2,5]", f"order={order}")
    for limit in (2, 5):
        experiment = yaml.safe_load((out / f"{order}-groups_{limit}.yaml").read_text(encoding="utf-8"))
        assert len(experiment["model"]["net"]["fields"]) == limit


@pytest.mark.slow
def test_fscd_is_selected_alike_and_milliseconds_are_a_budget(tmp_path: Path) -> None:
    train("model=fscd", "name=learned", *_alone(tmp_path))
    run = run_dirs(tmp_path, "learned")[0]
    out = _select(tmp_path, f"run={run}", "budget.metric=milliseconds", "budget.limits=[1000]", "budget.seconds=0.02")
    experiment = yaml.safe_load((out / "learned-milliseconds_1000.yaml").read_text(encoding="utf-8"))
    assert len(experiment["model"]["net"]["fields"]) == len(_groups(run))


@pytest.mark.slow
def test_what_cannot_be_selected_from_is_refused(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, run = trained
    train("model=logistic", "name=plain", *_alone(tmp_path))
    for arguments, message in (
        ([f"run={run_dirs(tmp_path, 'plain')[0]}"], "no gates over its fields"),
        ([f"run={tmp_path}"], "no summary"),
        ([f"run={run}", "budget.limits=[1]"], "No group of fields fits"),
        ([f"run={run}", "budget.metric=money"], "flops, milliseconds, groups"),
        ([f"curve=[{run}]", "metric=love/auc"], "no place on the curve"),
    ):
        with pytest.raises(SystemExit):
            _select(root, *arguments)
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_cost_of_every_role_is_in_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("+experiment=quickstart", *tiny_arguments(tmp_path), *_COSTS)
    run = run_dirs(tmp_path, "quickstart")[0]
    cost = json.loads((run / "summary.json").read_text(encoding="utf-8"))["cost"]
    assert set(cost) == {"teacher", "control", "distilled"}
    assert cost["teacher"]["item_bytes"] == 0 < cost["distilled"]["item_bytes"]
    assert cost["distilled"]["candidate_flops"] == cost["control"]["candidate_flops"]
    assert cost["distilled"]["candidate_flops"] < cost["teacher"]["candidate_flops"] / 100
    assert "kFLOPs/candidate" in capsys.readouterr().out
    train("model=logistic", "name=off", *_alone(tmp_path), "cost.enabled=false")
    assert not load_summary(run_dirs(tmp_path, "off")[0]).cost
