"""A model begins with what another one has learnt: each row with that of its raw value, wherever it is now."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from distill.data.dataset import load_dataset
from distill.encodings import FittedEncodings
from distill.encodings.same_rows import same_rows
from distill.encodings.tables import FittedHash, FittedIds, FittedQuantiles, FittedVocabulary
from distill.features import EmbeddingTables
from distill.jobs.parts import build_model, load_model
from distill.jobs.two_heads import build_two_headed
from distill.jobs.warm_start import warm_start
from distill.reports.summary import load_summary
from tests.jobs.days import of_day, write_days
from tests.jobs.entry import path_arguments, run_dirs, run_script, train
from tests.jobs.test_mistakes import message_of

SMALL = ["trainer=cpu", "data.loader.batch_candidates=4096", "callbacks.progress_bar=false", "cost.enabled=false"]
NO_STEP = ["trainer.max_epochs=1", "optimizer.lr=1e-12", "optimizer.embedding_lr=1e-12", "scheduler=constant"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Day 1 and a model of it; day 2 under grown encodings, and under encodings of its own."""
    root = tmp_path_factory.mktemp("warm")
    write_days(root, range(1, 3))
    run_script("scripts/prepare.py", *of_day(root, 1), *path_arguments(root), f"out={root / 'day1'}")
    run_script("scripts/prepare.py", *of_day(root, 2), *path_arguments(root), f"out={root / 'grown'}",
               f"encodings={root / 'day1'}", "grow=true")  # fmt: skip
    run_script("scripts/prepare.py", *of_day(root, 2), *path_arguments(root), f"out={root / 'fresh'}")
    train(*on(root, "day1"), *SMALL, "trainer.max_epochs=20", "optimizer.lr=0.01", "callbacks.patience=null",
          "model=two_tower", "name=old")  # fmt: skip
    return root


def on(root: Path, dataset: str) -> list[str]:
    return ["data=prepared", f"data.root={root / dataset}", *path_arguments(root)]


def best(root: Path, name: str) -> Path:
    return run_dirs(root, name)[0] / "checkpoints" / "best.ckpt"


def rows(model: Any, dataset_root: Path, table: str) -> dict[Any, torch.Tensor]:
    """Raw value to its embedding."""
    dataset = load_dataset(dataset_root)
    encoder = FittedEncodings.load(dataset_root, dataset.manifest.encodings).tables[table]
    assert isinstance(encoder, FittedVocabulary)
    (tables,) = (m for m in model.modules() if isinstance(m, EmbeddingTables))
    place = tables.places[table]
    weight = tables.weights[str(place.width)][place.first : place.first + place.size].detach()
    return {None: weight[0], "?": weight[1], **dict(zip(encoder.values.to_pylist(), weight[2:], strict=True))}


@pytest.mark.parametrize("dataset", ["grown", "fresh"])
def test_rows_follow_their_raw_values(root: Path, dataset: str) -> None:
    """Also where a vocabulary was fitted anew, so that every id is another."""
    old = load_model(best(root, "old"))
    new = load_dataset(root / dataset)
    net = torch.load(best(root, "old"), weights_only=True)["distill"]["net"]
    torch.manual_seed(5)
    model = build_model(net, new.schema.serving_view(), "net")
    initial = {value: row.clone() for value, row in rows(model, new.root, "item").items()}
    taken = warm_start(model, new, best(root, "old"), "model.init_from")
    before, after = rows(old.model, root / "day1", "item"), rows(model, new.root, "item")
    assert set(before) & set(after) - {None, "?"}
    assert set(after) - set(before)
    for value, row in after.items():
        assert torch.equal(row, before.get(value, initial[value])), value
    assert taken.rows["item"] == (len(set(before) & set(after)), len(after))
    assert taken.rows["brand"] == (18, 18)  # hashed alike
    assert taken.rows["age"] == ((6, 6) if dataset == "grown" else (2, 6))  # quantiles of its own mean other things
    state, others = model.state_dict(), old.model.state_dict()
    assert taken.dense
    assert not taken.fresh
    assert all(torch.equal(state[name], others[name]) for name in taken.dense)


def test_the_served_half_of_two_heads_begins_with_a_model_that_has_one(root: Path) -> None:
    dataset, old = load_dataset(root / "day1"), load_model(best(root, "old"))
    net = torch.load(best(root, "old"), weights_only=True)["distill"]["net"]
    schema = dataset.schema.serving_view()
    torch.manual_seed(5)
    model, second_head = build_two_headed(net, schema, "net", EmbeddingTables)
    initial = model.state_dict()["similarity.bias"].clone() + 7
    model.state_dict()["similarity.bias"].copy_(initial)
    taken = warm_start(model, dataset, best(root, "old"), "model.init_from", second_head)
    served, others = second_head.served(model.state_dict()), old.model.state_dict()
    assert not taken.fresh
    assert all(torch.equal(served[name], value) for name, value in others.items())
    assert torch.equal(model.state_dict()["similarity.bias"][len(schema.tasks) :], initial[len(schema.tasks) :])


@pytest.mark.slow
def test_a_run_begins_where_the_other_ended(root: Path) -> None:
    """Without a step worth the name, a warm model is as good as the old one on its own data; a cold one is not."""
    train(*on(root, "day1"), *SMALL, *NO_STEP, "name=warm", f"model.init_from={run_dirs(root, 'old')[0]}")
    train(*on(root, "day1"), *SMALL, *NO_STEP, "name=cold")
    warm, cold, old = (load_summary(run_dirs(root, name)[0]).metrics["model"] for name in ("warm", "cold", "old"))
    assert warm["click/logloss"] == pytest.approx(old["click/logloss"], abs=1e-5)
    assert cold["click/logloss"] != pytest.approx(old["click/logloss"], abs=1e-3)
    log = (run_dirs(root, "warm")[0] / "train.log").read_text()
    assert "dense weights of" in log
    assert "by raw value: " in log


@pytest.mark.slow
def test_student_control_and_teacher_each_begin_with_their_own(root: Path) -> None:
    train(*on(root, "day1"), *SMALL, "trainer.max_epochs=1", "model=dcn_v2", "name=ranker")
    teacher = ["teacher=trained", "teacher.max_epochs=1", f"teacher.model.init_from={best(root, 'ranker')}"]
    student = [f"model.init_from={best(root, 'old')}", "loss=listwise", "trainer.max_epochs=1"]
    train(*on(root, "grown"), *SMALL, *teacher, *student, "name=distilled")
    log = (run_dirs(root, "distilled")[0] / "train.log").read_text()
    for role, path in (("teacher", "ranker"), ("student", "old"), ("control", "old")):
        assert f"The {role}: begins with" in log
        assert str(best(root, path)) in log


@pytest.mark.slow
def test_a_cotrained_teacher_too(root: Path) -> None:
    if not (root / "runs" / "ranker").exists():
        train(*on(root, "day1"), *SMALL, "trainer.max_epochs=1", "model=dcn_v2", "name=ranker")
    train(*on(root, "grown"), *SMALL, "teacher=cotrained", "loss=listwise", "trainer.max_epochs=1", "name=together",
          f"teacher.model.init_from={best(root, 'ranker')}", f"model.init_from={best(root, 'old')}",
          "control.enabled=false")  # fmt: skip
    log = (run_dirs(root, "together")[0] / "train.log").read_text()
    assert "The teacher: begins with" in log
    assert "The student: begins with" in log


@pytest.mark.slow
def test_another_checkpoint_is_another_model_in_the_cache(root: Path) -> None:
    common = [*on(root, "day1"), *SMALL, "teacher=trained", "teacher.max_epochs=1", "trainer.max_epochs=1",
              "loss=listwise", "control.enabled=false"]  # fmt: skip
    train(*common, "name=first", "model@teacher.model=two_tower")
    train(*common, "name=second", "model@teacher.model=two_tower", f"teacher.model.init_from={best(root, 'old')}")
    first, second = (load_summary(run_dirs(root, name)[0]) for name in ("first", "second"))
    assert "teacher" not in second.cached
    assert first.metrics["teacher"] != second.metrics["teacher"]
    train(*common, "name=third", "model@teacher.model=two_tower", f"teacher.model.init_from={run_dirs(root, 'old')[0]}")
    assert "teacher" in load_summary(run_dirs(root, "third")[0]).cached


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_its_own_weights(root: Path) -> None:
    """The checkpoint that it began with may be gone by then."""
    shutil.copy(best(root, "old"), root / "gone.ckpt")
    arguments = [*on(root, "day1"), *SMALL, "name=resumed", f"model.init_from={root / 'gone.ckpt'}"]
    train(*arguments, "trainer.max_epochs=1", "scheduler=constant")
    (root / "gone.ckpt").unlink()
    train(*arguments, "trainer.max_epochs=2", "scheduler=constant", "resume=last")
    assert load_summary(run_dirs(root, "resumed")[0]).steps["model"] == 2


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["model.init_from=nowhere.ckpt"], ["The checkpoint does not exist.", "nowhere.ckpt"]),
        (["model.init_from=5"], ["model.init_from", "text"]),
    ],
)
def test_what_cannot_be_begun_with_is_refused(
    root: Path, arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = message_of(capsys, "train.py", *on(root, "day1"), *SMALL, *arguments)
    assert all(part in said for part in parts), said


def optimizer_of(path: Path) -> dict[str, Any]:
    """State of each parameter by name."""
    (parts,) = torch.load(path, weights_only=True)["optimizer_states"]
    found: dict[str, Any] = {}
    for part in parts.values():
        names = [name for group in part["param_groups"] for name in group["param_names"]]
        found |= {name: part["state"][position] for position, name in enumerate(names)}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("embedding", ["rowwise_adagrad", "sparse_adam"])
def test_the_optimiser_goes_on_by_name_and_by_raw_value(root: Path, embedding: str) -> None:
    """One step later: sums and moments are the old ones with one more gradient, at the row of the same value."""
    name = f"state_{embedding}"
    # Steps since a row was touched are those of the run: they begin anew.
    kind = [f"optimizer.embedding={embedding}", "optimizer.embedding_l2=0.01", "optimizer.embedding_l2_steps=all"]
    first = [*on(root, "day1"), *SMALL, *kind, "trainer.max_epochs=3", "model=two_tower", "callbacks.patience=null"]
    train(*first, f"name={name}")
    origin = run_dirs(root, name)[0] / "checkpoints" / "last.ckpt"
    begin = [*on(root, "fresh"), *SMALL, *kind, *NO_STEP, f"model.init_from={origin}", "callbacks.patience=null"]
    train(*begin, f"name={name}_on", "model.init_optimizer=true")
    train(*begin, f"name={name}_anew")
    later, apart = (run_dirs(root, f"{name}_{n}")[0] / "checkpoints" / "last.ckpt" for n in ("on", "anew"))
    old, on_, anew = map(optimizer_of, (origin, later, apart))
    bias = next(key for key in old if key.endswith("bias"))
    assert anew[bias]["step"] == 1
    assert on_[bias]["step"] == old[bias]["step"] + 1
    # the same batch at the same weights: the gradient of the step is in the moment of the run that began anew
    torch.testing.assert_close(on_[bias]["exp_avg"], 0.9 * old[bias]["exp_avg"] + anew[bias]["exp_avg"])
    table = next(name for name in old if "weights." in name)
    adagrad = embedding == "rowwise_adagrad"
    key = "sum" if adagrad else "exp_avg_sq"
    before, after, alone = (
        state_by_value(root, dataset, path, table, state[table][key])
        for dataset, path, state in (("day1", origin, old), ("fresh", later, on_), ("fresh", apart, anew))
    )
    for value, found in after.items():
        more = alone[value]
        decay = 1.0 if adagrad or not more.any() else 0.999
        kept = before.get(value, torch.zeros_like(found))
        torch.testing.assert_close(found, decay * kept + more, rtol=1e-4, atol=1e-12)
    assert any(before[value].any() for value in before.keys() & after.keys())
    assert "rows of tables" in (later.parents[1] / "train.log").read_text()


def state_by_value(root: Path, dataset: str, checkpoint: Path, parameter: str, state: torch.Tensor) -> dict[Any, Any]:
    """Raw value of an item to what an optimiser knows of its row."""
    loaded = load_dataset(root / dataset)
    encoder = FittedEncodings.load(loaded.root, loaded.manifest.encodings).tables["item"]
    assert isinstance(encoder, FittedVocabulary)
    (tables,) = (m for m in load_model(checkpoint).model.modules() if isinstance(m, EmbeddingTables))
    place = tables.places["item"]
    assert parameter.endswith(f"weights.{place.width}")
    return dict(zip(encoder.values.to_pylist(), state[place.first + 2 : place.first + place.size], strict=True))


@pytest.mark.slow
def test_a_state_needs_a_checkpoint_that_has_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = message_of(capsys, "train.py", *on(root, "day1"), *SMALL, "model.init_optimizer=true")
    assert "model.init_optimizer" in said
    other = [f"model.init_from={best(root, 'old')}", "model.init_optimizer=true", "optimizer.embedding=sparse_adam"]
    said = message_of(capsys, "train.py", *on(root, "day1"), *SMALL, *other)
    assert "another one than that of the checkpoint" in said
    without = root / "without.ckpt"
    state = torch.load(best(root, "old"), weights_only=True)
    torch.save({**state, "optimizer_states": []}, without)
    said = message_of(capsys, "train.py", *on(root, "day1"), *SMALL, f"model.init_from={without}",
                      "model.init_optimizer=true")  # fmt: skip
    assert "no state of an optimiser" in said


def test_same_rows_of_every_encoding() -> None:
    def words(*values: str) -> FittedVocabulary:
        return FittedVocabulary(pa.array(values, pa.string()), np.ones(len(values), np.int64))

    assert same_rows(words("b", "c", "a"), words("a", "b")).tolist() == [0, 1, 3, -1, 2]
    assert same_rows(words("b"), words()).tolist() == [0, 1, -1]
    numbers = FittedVocabulary(pa.array([1, 2]), np.ones(2, np.int64))
    assert same_rows(numbers, words("1", "2")).tolist() == [0, 1, -1, -1]
    assert same_rows(FittedIds(4), FittedIds(2)).tolist() == [0, 1, 2, 3, -1, -1]
    assert same_rows(FittedIds(1), FittedIds(3)).tolist() == [0, 1, 2]
    assert same_rows(FittedHash(2, "int"), FittedHash(2, "int")).tolist() == [0, 1, 2, 3]
    assert same_rows(FittedHash(2, "int"), FittedHash(3, "int")).tolist() == [0, 1, -1, -1]
    assert same_rows(FittedHash(2, "int"), FittedHash(2, "string")).tolist() == [0, 1, -1, -1]
    one, other = (FittedQuantiles(2, np.array([x])) for x in (0.5, 0.6))
    assert same_rows(one, one).tolist() == [0, 1, 2, 3]
    assert same_rows(one, other).tolist() == [0, 1, -1, -1]
    assert same_rows(one, FittedIds(2)).tolist() == [0, 1, -1, -1]
