"""The score job, the column source and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from distill.data.datamodule import Loading, RankingDataModule
from distill.data.dataset import load_dataset
from distill.data.format import ITEM_KEY, NUM_CANDIDATES, REQUEST_KEY, teacher_column
from distill.jobs.parts import load_model
from distill.reports.summary import load_summary
from distill.signals.principal import PrincipalComponents
from tests.jobs.entry import path_arguments, run_dirs, run_script, tiny_arguments, train
from tests.marks import slow_except


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained teacher, and its signals in `signals`."""
    root = tmp_path_factory.mktemp("signals")
    arguments = [a for a in tiny_arguments(root) if not a.startswith("teacher.")]
    train("+experiment=funnel/teacher_dcn_v2", *arguments, "name=teacher")
    run_script("scripts/score.py", *_score_arguments(root), f"out={root / 'signals'}")
    return root


def _checkpoint(root: Path) -> Path:
    return run_dirs(root, "teacher")[0] / "checkpoints" / "best.ckpt"


def _score_arguments(root: Path) -> list[str]:
    return ["data=funnel_tiny", f"teacher.path={_checkpoint(root)}", "trainer=cpu", *path_arguments(root)]


def _distil(root: Path, name: str, *arguments: str) -> None:
    tiny = [a for a in tiny_arguments(root) if not a.startswith("teacher.")]
    train(*tiny, "metrics=funnel", "loss=pointwise", f"name={name}", *arguments)


def _failure(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_signals_lie_row_by_row_beside_the_data(root: Path) -> None:
    dataset = load_dataset(next((root / "data").glob("funnel-*")))
    provenance = json.loads((root / "signals" / "provenance.json").read_text())
    assert provenance["dataset"] == dataset.fingerprint
    assert provenance["tasks"] == list(dataset.schema.task_names)
    for split in ("train", "val", "test"):
        for part in dataset.parts(split):
            data, signals = (pq.ParquetFile(folder / part.path) for folder in (dataset.root, root / "signals"))
            assert signals.num_row_groups == data.num_row_groups
            lengths = data.read(columns=[NUM_CANDIDATES]).column(0).to_numpy()
            column = signals.read(columns=[teacher_column("click")]).column(0)
            assert [len(row) for row in column] == lengths.tolist()
            for key in (REQUEST_KEY, ITEM_KEY):
                assert signals.read(columns=[key]).column(0).equals(data.read(columns=[key]).column(0))


def test_signals_without_keys_get_them(root: Path, tmp_path: Path) -> None:
    scored = ["scripts/score.py", *_score_arguments(root), f"out={tmp_path / 'signals'}"]
    run_script(*scored, "keys=false")
    files = sorted((tmp_path / "signals").rglob("*.parquet"))
    logits = [pq.read_schema(file).names for file in files]
    assert files
    assert not any({REQUEST_KEY, ITEM_KEY} & set(names) for names in logits)
    run_script(*scored)
    assert [pq.read_schema(file).names for file in files] == [[REQUEST_KEY, ITEM_KEY, *names] for names in logits]


@pytest.mark.slow
def test_column_gives_the_same_student_as_the_checkpoint_that_was_scored(root: Path) -> None:
    _distil(root, "column", "teacher=column", f"teacher.path={root / 'signals'}", "control.enabled=false")
    _distil(root, "checkpoint", "teacher=checkpoint", f"teacher.path={_checkpoint(root)}", "control.enabled=false")
    column, checkpoint = (load_summary(run_dirs(root, name)[0]).metrics for name in ("column", "checkpoint"))
    assert column["distilled"]["click/auc"] == checkpoint["distilled"]["click/auc"]
    assert column["teacher"]["click/logloss"] == checkpoint["teacher"]["click/logloss"]


def test_teacher_in_the_table_is_the_teacher_that_was_tested(root: Path) -> None:
    _distil(root, "table", "teacher=column", f"teacher.path={root / 'signals'}", "control.enabled=false")
    tested = load_summary(run_dirs(root, "teacher")[0]).metrics["model"]
    shown = load_summary(run_dirs(root, "table")[0]).metrics["teacher"]
    assert {n: v for n, v in shown.items() if n in tested and np.isfinite(v)} == pytest.approx(
        {n: v for n, v in tested.items() if np.isfinite(v)}, abs=1e-5
    )


def test_scoring_goes_on_where_it_stopped(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = root / "signals"
    before = {p: p.read_bytes() for p in folder.rglob("*.parquet")}
    lost = sorted(before)[0]
    kept = sorted(before)[-1]
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    (folder / "provenance.json").unlink()
    run_script("scripts/score.py", *_score_arguments(root), f"out={folder}")
    assert {p: p.read_bytes() for p in folder.rglob("*.parquet")} == before
    assert kept.stat().st_mtime_ns == stamp
    assert "scored now" in capsys.readouterr().out


def test_unfinished_signals_are_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _distil(root, "unfinished", "teacher=column", f"teacher.path={tmp_path}")
    assert "There are no finished teacher signals here." in _failure(capsys)


def test_signals_of_another_dataset_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _distil(root, "other", "teacher=column", f"teacher.path={root / 'signals'}", "data.adapter.seed=1")
    message = _failure(capsys)
    assert "belong to another dataset" in message
    assert "remedy" in message


def test_teacher_of_another_dataset_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _distil(root, "other", "teacher=checkpoint", f"teacher.path={_checkpoint(root)}", "data.adapter.seed=1")
    assert "encoded in another way" in _failure(capsys)


def test_missing_checkpoint_is_one_clear_error(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        _distil(root, "missing", "teacher=checkpoint", "teacher.path=/nowhere/x.ckpt")
    assert ending.value.code == 2
    message = _failure(capsys)
    assert "does not exist." in message
    assert "/nowhere/x.ckpt" in message
    assert "Traceback" not in message


def test_dataset_without_production_scores_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _distil(root, "none", "teacher=column")
    assert "teacher_click" in _failure(capsys)


@pytest.mark.slow
def test_damaged_cache_entry_is_noticed_and_trained_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["teacher=trained", "teacher.max_epochs=1", "control.enabled=false"]
    _distil(root, "first", *arguments)
    (entry,) = (root / "cache" / "models").glob("teacher-*/best.ckpt")
    entry.write_bytes(entry.read_bytes()[:-100])
    _distil(root, "second", *arguments)
    assert "does not match its hash" in _failure(capsys)
    first, second = (load_summary(run_dirs(root, name)[0]) for name in ("first", "second"))
    assert second.cached == []
    assert first.metrics["distilled"]["click/auc"] == second.metrics["distilled"]["click/auc"]


@pytest.mark.slow
def test_damage_within_a_signal_file_is_refused_and_scored_again(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = root / "damaged"
    run_script("scripts/score.py", *_score_arguments(root), f"out={folder}")
    path = sorted(folder.rglob("*.parquet"))[0]
    right = path.read_bytes()
    for recorded in (True, False):
        path.write_bytes(right[:20] + bytes([right[20] ^ 255]) + right[21:])
        if recorded:
            with pytest.raises(SystemExit):
                _distil(root, "damaged", "teacher=column", f"teacher.path={folder}")
            assert "A signal file is damaged." in _failure(capsys)
        else:
            (folder / "provenance.json").unlink()
        run_script("scripts/score.py", *_score_arguments(root), f"out={folder}")
        assert path.read_bytes() == right


@pytest.mark.slow
def test_hidden_vectors_are_written_and_read_row_by_row(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the reader gives with a batch is what the teacher computes for it."""
    folder = root / "with_hidden"
    run_script("scripts/score.py", *_score_arguments(root), f"out={folder}", "hidden=[body]")
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["hidden"] == {"names": ["body"], "type": "float32", "width": None}
    loaded = load_model(_checkpoint(root))
    folders = [path.parent for path in (root / "data").glob("*/schema.yaml")]
    (data,) = (path for path in folders if load_dataset(path).fingerprint == provenance["dataset"])
    module = RankingDataModule(data, Loading(256, 256), view="serving", signals={"train": str(folder)})
    seen = 0
    for batch in module.loader("train"):
        assert batch.signals is not None
        with torch.no_grad():
            expected = loaded.model.eval()(batch)
        torch.testing.assert_close(batch.signals.hidden["body"], expected.hidden["body"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(batch.signals.logits, expected.logits, rtol=1e-5, atol=1e-6)
        seen += batch.num_candidates
    assert seen > 1000
    with pytest.raises(SystemExit):
        run_script("scripts/score.py", *_score_arguments(root), f"out={root / 'other'}", "hidden=[towers]")
    assert "body [" in _failure(capsys)


@pytest.mark.slow
def test_hidden_vectors_in_half_the_bytes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half, full = root / "half", root / "full"
    run_script("scripts/score.py", *_score_arguments(root), f"out={full}", "hidden=[body]")
    run_script("scripts/score.py", *_score_arguments(root), f"out={half}", "hidden=[body]", "hidden_type=float16")
    file = next((half / "val").glob("*.parquet"))
    column = pq.read_schema(file).field("hidden_body").type
    assert "halffloat" in str(column)
    scored = json.loads((half / "provenance.json").read_text())["dataset"]
    folders = [path.parent for path in (root / "data").glob("*/schema.yaml")]
    (data,) = (path for path in folders if load_dataset(path).fingerprint == scored)
    batches = [
        next(iter(RankingDataModule(data, Loading(256), signals={"val": str(folder)}).loader("val")))
        for folder in (half, full)
    ]
    found, expected = (batch.signals.hidden["body"] for batch in batches)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    capsys.readouterr()
    run_script("scripts/score.py", *_score_arguments(root), f"out={half}", "hidden=[body]", "hidden_type=float16")
    assert "(0 scored now" in capsys.readouterr().out
    run_script("scripts/score.py", *_score_arguments(root), f"out={half}", "hidden=[body]")
    assert "(0 scored now" not in capsys.readouterr().out  # another type is another file
    _distil(root, "half", "teacher=column", f"teacher.path={half}", "+loss_term@loss.terms.hint=hint")
    with pytest.raises(SystemExit):
        run_script("scripts/score.py", *_score_arguments(root), "hidden=[body]", "hidden_type=int8")
    assert "hidden_type expected: float32, float16 found: 'int8'" in _failure(capsys)


@pytest.mark.slow
def test_hidden_vectors_reduced_to_principal_components(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are orthogonal images of the whole vectors, the same on every part, and a student learns from them."""
    full, reduced = root / "whole", root / "reduced"
    run_script("scripts/score.py", *_score_arguments(root), f"out={full}", "hidden=[body]")
    arguments = (*_score_arguments(root), f"out={reduced}", "hidden=[body]")
    run_script("scripts/score.py", *arguments, "hidden_width=5")
    tables = [pq.read_table(next((folder / "val").glob("*.parquet"))) for folder in (full, reduced)]
    whole, short = (
        table.column("hidden_body").combine_chunks().flatten().flatten().to_numpy().reshape(n, -1)
        for table in tables
        for n in [len(table.column("hidden_body").combine_chunks().flatten())]
    )
    assert short.shape[1] == 5
    (file,) = reduced.glob("*.safetensors")
    components = PrincipalComponents.load(file)
    expected = (whole - components.mean.numpy()) @ components.basis.numpy()
    np.testing.assert_allclose(short, expected, rtol=1e-3, atol=1e-4)
    capsys.readouterr()
    run_script("scripts/score.py", *arguments, "hidden_width=5")
    assert "(0 scored now" in capsys.readouterr().out
    run_script("scripts/score.py", *arguments, "hidden_width=4")
    assert "(0 scored now" not in capsys.readouterr().out  # another width is another file
    _distil(root, "reduced", "teacher=column", f"teacher.path={reduced}", "+loss_term@loss.terms.hint=hint")
    for width, expected_error in (
        ("100000", "principal components"),
        ("0", "hidden_width expected: a whole number of at least 1"),
    ):
        with pytest.raises(SystemExit):
            run_script("scripts/score.py", *_score_arguments(root), "hidden=[body]", f"hidden_width={width}")
        assert expected_error in _failure(capsys)


@pytest.mark.slow
def test_components_of_earlier_signals_give_the_same_numbers(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On another log too: its vectors mean what those of the first one mean."""
    first, later = root / "first", root / "later"
    arguments = (*_score_arguments(root), "hidden=[body]")
    run_script("scripts/score.py", *arguments, "hidden_width=3", f"out={first}")
    encodings = next((root / "data").glob("funnel-*"))
    of_day = ["data=funnel_tiny", "seed=1", f"encodings={encodings}", f"out={root / 'other'}", *path_arguments(root)]
    run_script("scripts/prepare.py", *of_day)
    other = [a for a in arguments if not a.startswith("data=")]
    other += ["data=prepared", f"data.root={root / 'other'}", f"out={later}"]
    run_script("scripts/score.py", *other, "hidden_width=3", f"hidden_components={first}")
    (known,), (taken,) = (folder.glob("*.safetensors") for folder in (first, later))
    for name in ("mean", "basis"):
        assert torch.equal(*(getattr(PrincipalComponents.load(path), name) for path in (known, taken)))
    capsys.readouterr()
    run_script("scripts/score.py", *other, "hidden_width=3", f"hidden_components={first}")
    assert "(0 scored now" in capsys.readouterr().out
    run_script("scripts/score.py", *other, "hidden_width=3")
    assert "(0 scored now" not in capsys.readouterr().out  # of its own components
    for mistake, said in (("hidden_width=2", "no principal components to take"), ("", "Only vectors that are reduced")):
        given = [mistake] if mistake else []
        with pytest.raises(SystemExit):
            run_script("scripts/score.py", *other, *given, f"hidden_components={first}")
        assert said in _failure(capsys)


def test_the_next_scoring_removes_what_a_killed_one_left(root: Path) -> None:
    folder = root / "signals"
    for split in ("train", "val"):
        (folder / split / ".part-00000.parquet.writing-0123456789ab").write_bytes(b"half")
    (folder / ".provenance.json.writing-0123456789ab").touch()
    run_script("scripts/score.py", *_score_arguments(root), f"out={folder}")
    assert list(folder.rglob(".*")) == []


@pytest.mark.parametrize("name", slow_except(["provenance.json", "val/checksums.json"], "provenance.json"))
def test_a_damaged_record_of_signals_is_refused_and_written_again(
    root: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = root / "signals" / name
    text = path.read_text()
    path.write_text(text.replace('"parts"', '"qarts"').replace('"footer"', '"gooter"', 1))
    arguments = ["teacher=column", f"teacher.path={root / 'signals'}", "control.enabled=false"]
    with pytest.raises(SystemExit):
        _distil(root, "record", *arguments)
    assert Path(name).name in _failure(capsys)
    run_script("scripts/score.py", *_score_arguments(root), f"out={root / 'signals'}")
    assert path.read_text() == text


@pytest.mark.slow
def test_damaged_components_are_found_again_with_all_that_was_made_of_them(root: Path) -> None:
    arguments = [*_score_arguments(root), "hidden=[body]", "hidden_width=3", f"out={root / 'damaged'}"]
    run_script("scripts/score.py", *arguments)
    (path,) = (root / "damaged").glob("hidden_body-*.safetensors")
    data = bytearray(path.read_bytes())
    data[-9] ^= 4
    path.write_bytes(data)
    part = next((root / "damaged" / "val").glob("*.parquet"))
    before = part.stat().st_mtime_ns
    run_script("scripts/score.py", *arguments)
    PrincipalComponents.load(path)
    assert part.stat().st_mtime_ns > before
