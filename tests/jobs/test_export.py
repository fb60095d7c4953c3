"""A trained student as a bundle, from the command line: served, evaluated, predicted with, and its encodings reused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from distill.data.dataset import load_dataset
from distill.device import DeviceTopK
from distill.serving import Bundle, ItemVectors, Quota, Rerank
from distill.serving.item_features import ItemFeatures
from tests.jobs.days import SCHEMA, day, of_day, write_days
from tests.jobs.entry import path_arguments, run_dirs, run_script, train

SMALL = ["trainer=cpu", "trainer.max_epochs=1", "callbacks.progress_bar=false", "cost.enabled=false"]
WHOLE = "split@data.adapter.split=whole"


def items_of(number: int) -> pa.Table:
    """The items of a day, once each."""
    log = day(number)
    table = pa.table({name: pc.list_flatten(log[name]) for name in ("item", "brand", "price", "age")})
    firsts = table.group_by("item", use_threads=False).aggregate([(n, "first") for n in ("brand", "price", "age")])
    return firsts.rename_columns(["item", "brand", "price", "age"])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of day 1 and its bundle with the items of days 1 and 2."""
    root = tmp_path_factory.mktemp("export")
    write_days(root, range(1, 3))
    both = pa.concat_tables([items_of(1), items_of(2)])
    keys = both["item"].to_pylist()
    pq.write_table(both.take(pa.array([keys.index(k) for k in dict.fromkeys(keys)])), root / "items.parquet")
    train(*of_day(root, 1), *path_arguments(root), *SMALL, "model=two_tower", "name=student", "export=true",
          f"data.items={root / 'items.parquet'}")  # fmt: skip
    shutil.copytree(run_dirs(root, "student")[0] / "bundle", root / "bundle")
    return root


def export(root: Path, out: str, *arguments: str) -> None:
    run = run_dirs(root, "student")[0]
    run_script(
        "scripts/export.py", "trainer=cpu", f"path={run}", f"out={root / out}", *path_arguments(root), *arguments
    )


def test_a_process_without_torch_scores_by_key(root: Path, tmp_path: Path) -> None:
    """What a server does, in a process that has numpy, pyarrow and onnxruntime of the heavy packages alone."""
    program = """
import json, sys
for name in ("torch", "pytorch_lightning", "hydra", "omegaconf", "scipy", "onnx"):
    sys.modules[name] = None
from distill.serving import Bundle
bundle = Bundle.load(sys.argv[1])
scores = bundle.score({"user": "u6", "past": ["i12"]}, items=["i11", "i12", "i45"])
print(json.dumps(scores.predictions["click"].tolist()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(root / "bundle")], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    bundle = Bundle.load(root / "bundle")
    table = pq.read_table(root / "items.parquet")
    own = table.filter(pc.is_in(table["item"], pa.array(["i11", "i12", "i45"]))).sort_by("item")
    columns = bundle.score({"user": "u6", "past": ["i12"]}, own).predictions["click"]
    np.testing.assert_allclose(json.loads(done.stdout), columns, atol=1e-6)


@pytest.mark.slow
def test_the_script_makes_the_bundle_of_the_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(root, "again", f"items={root / 'items.parquet'}", "item_type=int8", "exported=false")
    again, first = Bundle.load(root / "again"), Bundle.load(root / "bundle")
    assert again.version == first.version
    assert again.items is not None
    assert first.items is not None
    assert again.items.type == "int8"
    assert len(again.items) == len(first.items) == 40
    np.testing.assert_allclose(again.items.of(["i12"]), first.items.of(["i12"]), atol=1e-2)
    assert "40 items, golden requests within" in capsys.readouterr().out


@pytest.mark.slow
def test_a_bundle_re_ranks_as_it_was_told_on_the_command_line(root: Path) -> None:
    export(root, "reranked", "exported=false", f"items={root / 'items.parquet'}",
           "rerank={type: mmr, trade_off: 0.5, quotas: [{column: shop, most: 1, window: 2}]}")  # fmt: skip
    bundle = Bundle.load(root / "reranked")
    assert bundle.manifest.rerank == Rerank(type="mmr", trade_off=0.5, quotas=(Quota(column="shop", most=1, window=2),))
    items, shops = pq.read_table(root / "items.parquet")["item"].to_pylist()[:4], ["a", "a", "b", "b"]
    best = bundle.top_k({"user": "u6", "past": ["i12"]}, {"shop": shops}, items=items, k=4)
    kept = [shops[place] for place in best.positions]
    assert kept in (["a", "b", "a", "b"], ["b", "a", "b", "a"])


def test_bundle_and_checkpoint_measure_alike(root: Path) -> None:
    run, out = run_dirs(root, "student")[0], root / "evaluated"
    run_script("scripts/evaluate.py", "trainer=cpu", f"path={{ckpt: {run}, bundle: {root / 'bundle'}}}",
               *of_day(root, 2), *path_arguments(root), f"hydra.run.dir={out}")  # fmt: skip
    (found,) = json.loads((out / "evaluation.json").read_text())
    of = found["metrics"]
    assert of["ckpt"]["click/auc"] == pytest.approx(of["bundle"]["click/auc"], abs=1e-9)
    assert of["ckpt"]["click/logloss"] == pytest.approx(of["bundle"]["click/logloss"], abs=1e-6)


def test_the_loss_of_stored_vectors_is_measured_on_data(root: Path) -> None:
    run, out = run_dirs(root, "student")[0], root / "stored"
    run_script("scripts/evaluate.py", "trainer=cpu", f"path={run}", "item_types=[float16,int8]",
               f"teacher_path={run}", *of_day(root, 2), *path_arguments(root), f"hydra.run.dir={out}",
               "metrics.metrics.teacher_recall.ks=[4]", "metrics.metrics.teacher_recall.m=3")  # fmt: skip
    (found,) = json.loads((out / "evaluation.json").read_text())
    name = next(iter(found["models"]))
    recalls = [found["metrics"][of]["teacher_recall@4_3"] for of in (name, f"{name} (float16)", f"{name} (int8)")]
    losses = [found["metrics"][of]["click/logloss"] for of in (name, f"{name} (float16)", f"{name} (int8)")]
    assert recalls[0] == 1.0
    assert min(recalls) > 0.9
    assert losses[0] != losses[2]
    assert losses[1:] == pytest.approx([losses[0]] * 2, abs=1e-3)


def test_bundle_and_checkpoint_predict_alike(root: Path) -> None:
    tables = []
    for name, path in (("ckpt", run_dirs(root, "student")[0]), ("bundle", root / "bundle")):
        run_script("scripts/predict.py", "trainer=cpu", f"path={path}", f"source={root / 'days' / '2.parquet'}",
                   f"out={root / f'by_{name}'}", *path_arguments(root))  # fmt: skip
        parts = json.loads((root / f"by_{name}" / "predictions.json").read_text())["parts"]
        tables.append(pa.concat_tables([pq.read_table(root / f"by_{name}" / part["path"]) for part in parts]))
    assert tables[0]["item"].equals(tables[1]["item"])
    np.testing.assert_allclose(tables[0]["pred_click"], tables[1]["pred_click"], atol=1e-6)


def test_data_is_prepared_with_the_encodings_of_a_bundle(root: Path) -> None:
    run = run_dirs(root, "student")[0]
    fields = [f for f in SCHEMA["fields"] if not f.get("privileged")]
    (root / "served.yaml").write_text(yaml.safe_dump({**SCHEMA, "fields": fields}))
    for name, path in (("ckpt", run / "checkpoints" / "best.ckpt"), ("bundle", root / "bundle")):
        run_script("scripts/prepare.py", *of_day(root, 2), f"data.schema={root / 'served.yaml'}", WHOLE,
                   *path_arguments(root), f"out={root / f'day2_{name}'}", f"encodings={path}")  # fmt: skip
    by_bundle, by_checkpoint = (load_dataset(root / f"day2_{name}") for name in ("bundle", "ckpt"))
    fields = by_bundle.schema.serving_view().fields
    assert by_bundle.manifest.encodings.of(fields) == by_checkpoint.manifest.encodings.of(fields)


def test_a_delta_from_the_command_line(root: Path) -> None:
    table = pq.read_table(root / "items.parquet")
    price = table["price"].to_pylist()
    price[0] += 50.0
    pq.write_table(table.set_column(2, "price", pa.array(price)).slice(0, 20), root / "changed.parquet")
    export(root, "delta", "what=items", f"items={root / 'changed.parquet'}", f"base={root / 'bundle'}")
    items = ItemVectors.load(root / "bundle" / "items")
    now = items.updated(root / "delta")
    assert len(now) == len(table)
    key = table["item"][0].as_py()
    assert not np.allclose(now.of([key]), items.of([key]))
    assert json.loads((root / "delta" / "items.json").read_text())["count"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["what=items"], "Name the files of the catalogue"),
        (["what=items", "items=nowhere.parquet"], "nowhere.parquet"),
        (["item_type=int4"], "item_type"),
        (["item_type=int8"], "have no effect"),
        (["in_parts=false"], "the option has no effect"),
        (["base=somewhere"], "have no effect"),
        (["what=items", "items=nowhere.parquet", "whole_catalogue=true"], "whole_catalogue"),
        (["what=items", "items=nowhere.parquet", "compile_for=[cpu]"], "compile_for"),
        (["items=ITEMS", "index=flat", "compile_for=[tpu]"], "compile_for"),
        (["top_k=5"], "top_k"),
        (["items=ITEMS", "top_k_type=float16"], "top_k_type"),
        (["items=ITEMS", "top_k=0"], "top_k"),
        (["what=items", "items=nowhere.parquet", "top_k=5"], "what=bundle"),
        (["rerank={type: mmr}"], "needs a trade_off"),
        (["rerank={type: mmr, trade_off: 2}"], "rerank.trade_off"),
        (["rerank=mmr"], "rerank"),
        (["what=items", "items=nowhere.parquet", "rerank={type: mmr, trade_off: 0.5}"], "rerank"),
    ],
)
def test_mistakes_end_in_a_message(
    root: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        export(root, "mistake", *arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (root / "mistake").exists()


@pytest.mark.slow
def test_a_program_for_a_device_comes_with_the_bundle(root: Path) -> None:
    export(root, "device", f"items={root / 'items.parquet'}", "exported=false", "top_k=3", "top_k_type=float16")
    found = DeviceTopK.load(root / "device", trusted=True)
    assert (found.program.k, found.program.type) == (3, "float16")
    assert len(found.stored) > 3


def test_a_bundle_is_not_made_of_a_bundle(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_script("scripts/export.py", "trainer=cpu", f"path={root / 'bundle'}", f"out={root / 'again'}",
                   *path_arguments(root))  # fmt: skip
    assert "made from a checkpoint" in capsys.readouterr().err


@pytest.mark.slow
def test_a_ranker_ends_with_a_bundle_of_item_features(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no vectors of items, so what is stored of the catalogue is what encoding makes of it."""
    train(*of_day(root, 1), *path_arguments(root), *SMALL, "model=dnn", "name=ranker", "export=true",
          f"data.items={root / 'items.parquet'}")  # fmt: skip
    bundle = Bundle.load(run_dirs(root, "ranker")[0] / "bundle")
    assert bundle.manifest.is_whole
    assert isinstance(bundle.items, ItemFeatures)
    assert bundle.items.key == "item"
    assert "of the checkpoint (0 s)" not in capsys.readouterr().out


@pytest.mark.slow
def test_what_a_killed_export_left_is_removed(root: Path) -> None:
    leftover = root / ".killed.writing-0123456789ab"
    leftover.mkdir()
    (leftover / "weights.bin").write_bytes(b"half")
    export(root, "killed", "exported=false")
    assert not leftover.exists()
    assert Bundle.load(root / "killed").version == Bundle.load(root / "bundle").version


def test_nothing_is_overwritten(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        export(root, "bundle")
    assert "nothing was overwritten" in capsys.readouterr().err
