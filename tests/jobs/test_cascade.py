"""The cascade's command: students as checkpoints and as files of scores, a ranker as a model and as a log's column."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

from distill.data.format import Dataset
from distill.errors import DataError
from distill.jobs.cascade_rows import worth_of
from distill.jobs.score_files import with_scores
from distill.metrics import ScoredRows
from tests.jobs.days import CANDIDATES, SCHEMA, day, of_day, write_days
from tests.jobs.entry import path_arguments, run_dirs, run_script, train
from tests.jobs.processes import run_python
from tests.jobs.test_evaluate import SMALL, best
from tests.jobs.test_mistakes import message_of

SIZES = ["ks=[2,4,8]", "ranked=2", "shown=2", "best=2", "cost.seconds=0.02", "trainer=cpu"]


def test_without_a_truth_the_value_is_the_score_that_the_ranker_orders_by_and_an_order_has_none() -> None:
    """A ranking score is the logarithm of what it says; where the ranker scored nothing, nothing is known."""
    scored = replace(rows(1), teacher_score=torch.tensor([0.5, -1.0]), teacher_valid=torch.tensor([True, False]))
    cfg = cast(DictConfig, OmegaConf.create({"truth": None, "teacher_path": "column"}))
    for kind, expected in (("logit", [math.exp(0.5), math.nan]), ("position", None)):
        dataset = cast(Dataset, SimpleNamespace(schema=SimpleNamespace(teacher=SimpleNamespace(kind=kind))))
        truth, value = worth_of(cfg, scored, dataset)
        assert truth.tolist() == pytest.approx([0.5, math.nan], nan_ok=True)
        assert (None if value is None else value.tolist()) == (expected and pytest.approx(expected, nan_ok=True))


def rows(requests: int = 3) -> ScoredRows:
    n = 2 * requests
    return ScoredRows(
        row=torch.arange(n), request_id=torch.arange(requests).repeat_interleave(2),
        user_id=torch.arange(requests).repeat_interleave(2), item_id=torch.tensor([7, 8] * requests),
        logits=torch.zeros(n, 1), score=torch.zeros(n), labels=torch.zeros(n, 1),
        observed=torch.zeros(n, 1, dtype=torch.bool), stage=torch.zeros(n, dtype=torch.int64), weight=torch.ones(n),
        columns={},
    )  # fmt: skip


def dataset(request: str | None = "search") -> Dataset:
    keys = SimpleNamespace(request=request, item="item")
    return cast("Dataset", SimpleNamespace(schema=SimpleNamespace(keys=keys), root=Path("data")))


def write(path: Path, pairs: list[tuple[int, int]], scores: list[float | None]) -> Path:
    search, item = ([pair[i] for pair in pairs] for i in (0, 1))
    pq.write_table(pa.table({"search": search, "item": item, "ranking_score": pa.array(scores, pa.float64())}), path)
    return path


PAIRS = [(2, 8), (2, 7), (0, 7), (0, 8), (1, 7), (1, 8), (9, 7)]


def test_scores_of_a_file_are_found_by_request_and_item(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", PAIRS, [5.0, 4.0, 0.0, 1.0, 2.0, 3.0, 9.0])
    found = with_scores(rows(), path, dataset())
    assert found.score.tolist() == [0, 1, 2, 3, 4, 5]
    assert bool(found.logits.isnan().all())


@pytest.mark.parametrize(
    ("pairs", "scores", "said"),
    [
        (PAIRS[1:], [1.0] * 6, "5 of them"),
        ([*PAIRS, (0, 7)], [1.0] * 8, "twice"),
        (PAIRS, [1.0] * 6 + [None], "null"),
        ([], [], "lacks candidates"),
    ],
)
def test_a_file_that_does_not_have_them_is_refused(
    pairs: list[tuple[int, int]], scores: list[float | None], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        with_scores(rows(), write(tmp_path / "a.parquet", pairs, scores), dataset())


def test_what_is_no_file_of_scores_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("a")
    with pytest.raises(DataError, match="cannot be read"):
        with_scores(rows(), tmp_path / "a.parquet", dataset())
    with pytest.raises(DataError, match=r"keys\.request"):
        with_scores(rows(), tmp_path / "a.parquet", dataset(request=None))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ranker and a student of day 1; day 2 as a log whose ranker scored five of eight and showed two at random."""
    root = tmp_path_factory.mktemp("cascade")
    write_days(root, range(1, 2))
    run_script("scripts/prepare.py", *of_day(root, 1), *path_arguments(root), f"out={root / 'day1'}")
    data = ["data=prepared", f"data.root={root / 'day1'}", *path_arguments(root)]
    train(*data, *SMALL, "model=dcn_v2", "name=ranker")
    train(*data, *SMALL, "model=two_tower", "name=student")
    logged = [[0.1 * (i + 1) if i < 5 else None for i in range(CANDIDATES)]] * 60
    chance = [[0.25 if i in (3, 4) else None for i in range(CANDIDATES)]] * 60
    table = day(2).append_column("ctr", pa.array(logged)).append_column("chance", pa.array(chance))
    pq.write_table(table, root / "days" / "2.parquet")
    teacher = {"columns": {"click": "ctr"}, "kind": "probability"}
    schema = {**SCHEMA, "teacher": teacher, "evaluation": ["chance"]}
    (root / "schema.yaml").write_text(yaml.safe_dump(schema))
    return root


def cascade(root: Path, *arguments: str) -> dict[str, Any]:
    run_script("scripts/cascade.py", *SIZES, *path_arguments(root), *arguments)
    folder = max((root / "runs" / "cascade").iterdir())
    found: dict[str, Any] = json.loads((folder / "cascade.json").read_text())
    assert (folder / "front.png").stat().st_size > 5000
    assert "| student | k |" in (folder / "cascade.md").read_text()
    return found


@pytest.mark.slow
def test_checkpoints_and_their_scores_in_files_are_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    student = best(root, "student")
    run_script("scripts/predict.py", f"path={student}", f"source={root / 'days' / '1.parquet'}",
               f"out={root / 'scores'}", "trainer=cpu", *path_arguments(root))  # fmt: skip
    found = cascade(
        root, "data=prepared", f"data.root={root / 'day1'}", f"teacher_path={run_dirs(root, 'ranker')[0]}",
        f"path={{model: {student}, file: {root / 'scores'}, ranker: {best(root, 'ranker')}}}",
        "rerank={type: mmr, trade_off: 0.5, quotas: [{column: brand, most: 1}]}",
        "diversity={category: brand, trade_offs: [1.0, 0.3], most: 1}",
    )  # fmt: skip
    by_student = {name: [p for p in found["points"] if p["student"] == name] for name in ("model", "file", "ranker")}
    for model, file in zip(by_student["model"], by_student["file"], strict=True):
        assert model["recalls"] == file["recalls"]
        assert model["groups"] == file["groups"]
        assert file["cost"]["prerank"]["milliseconds"] is None
        assert model["cost"]["prerank"]["flops"] < model["cost"]["rank"]["flops"]
    for point in by_student["ranker"]:
        assert point["recalls"]["shown_recall"]["value"] == 1.0
        assert point["lost"]["prerank"]["value"] >= 0
    ways = found["ways"]
    assert list(ways) == ["order", "quotas", "mmr 1", "mmr 0.3", "dpp 1", "dpp 0.3"]
    assert ways["mmr 1"] == ways["order"]
    assert ways["mmr 0.3"]["distance"]["value"] >= ways["order"]["distance"]["value"]
    whole = by_student["model"][-1]
    assert whole["recalls"]["ranked_recall"]["value"] == 1.0
    assert found["larger"]["8"] == 0.0
    assert "shown" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_measure_what_one_does(root: Path) -> None:
    given = [
        "data=prepared", f"data.root={root / 'day1'}", f"path={best(root, 'student')}",
        f"teacher_path={best(root, 'ranker')}", "rerank={type: dpp, trade_off: 0.5}", "cost.enabled=false",
        "diversity={category: brand, trade_offs: [0.5]}",
    ]  # fmt: skip
    one = cascade(root, *given)
    sizes = [size for size in SIZES if size != "trainer=cpu"]
    done = run_python("scripts/cascade.py", *sizes, *path_arguments(root), *given, "trainer=ddp_sim")
    assert done.status == 0, done.errors[-3000:]
    folder = max((root / "runs" / "cascade").iterdir())
    assert json.loads((folder / "cascade.json").read_text()) == one


@pytest.mark.slow
def test_a_log_says_what_it_knows_of_another_cascade(root: Path) -> None:
    found = cascade(root, *of_day(root, 2), f"path={best(root, 'student')}", "teacher_path=column", "propensity=chance")
    assert found["scored"] == pytest.approx(5 / 8)
    coverage = [point["coverage"] for point in found["points"]]
    assert coverage[-1]["passed_on"] == pytest.approx(5 / 8)
    assert all(0 < one["places_at_stake"] <= 1 for one in coverage)
    estimate = found["points"][-1]["estimate"]
    assert estimate["effective"]["value"] == pytest.approx(estimate["rows"]["value"])
    assert math.isfinite(estimate["snips"]["error"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["ks=[1]"], ["at most what it receives", "shown <= ranked"]),
        (["truth=nothing"], ["no such column for evaluation", "nothing"]),
        (["propensity=nothing"], ["no such column for evaluation", "propensity"]),
        (["rerank={type: mmr}"], ["rerank", "trade_off"]),
        (
            ["rerank={type: mmr, trade_off: 0.5}", "rerank_vectors={ranker}"],
            ["has none", "InteractionRanker"],
        ),
        (
            ["rerank={type: quotas, quotas: [{column: match, most: 1}]}"],
            ["not an id of the candidates", "brand", "match"],
        ),
        (["diversity={trade_offs: [2]}"], ["diversity.", "category"]),
        (["teacher_path=column"], ["The data holds no teacher scores."]),
    ],
)
def test_what_is_no_cascade_is_refused(
    root: Path, arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    own = [argument.replace("{ranker}", str(best(root, "ranker"))) for argument in arguments]
    of_day1 = ["data=prepared", f"data.root={root / 'day1'}"]
    given = [*of_day1, f"path={best(root, 'student')}", f"teacher_path={best(root, 'ranker')}"]
    said = message_of(capsys, "scripts/cascade.py", *SIZES, *path_arguments(root), *given, *own)
    assert all(part in said for part in parts), said
