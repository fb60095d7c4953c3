"""Tables begin with vectors by raw value: reduced, stretched, frozen or tuned; a group's mean where one is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill.data.dataset import load_dataset
from distill.errors import ConfigError, DataError
from distill.features import EmbeddingTables
from distill.jobs.cold import tell_groups
from distill.jobs.parts import build_model, load_model
from distill.jobs.start_vectors import VectorFile, start_vectors
from distill.jobs.warm_start import warm_start
from distill.reports.summary import load_summary
from tests.jobs.entry import run_dirs, train
from tests.jobs.test_cold import SMALL, best, on, root, vocabulary  # noqa: F401
from tests.jobs.test_mistakes import message_of

pytestmark = pytest.mark.slow  # whole runs

WIDTH = 24


def write(path: Path, ids: list[Any], vectors: list[Any], **names: str) -> VectorFile:
    pq.write_table(pa.table({names.get("id", "id"): ids, names.get("vector", "vector"): vectors}), path)
    return VectorFile(path, **names)


def drawn(count: int, width: int = WIDTH, seed: int = 0) -> list[list[float]]:
    scale = np.linspace(2.0, 0.1, width)  # components of different size, so that their order is known
    return (np.random.default_rng(seed).normal(size=(count, width)) * scale + 5).astype(np.float32).tolist()


def built(root: Path, dim: int = WIDTH) -> tuple[torch.nn.Module, EmbeddingTables]:  # noqa: F811
    dataset = load_dataset(root / "day1")
    net = dict(torch.load(best(root), weights_only=True)["distill"]["net"])
    torch.manual_seed(3)
    model = build_model({**net, "embedding_dim": dim}, dataset.schema.serving_view(), "net")
    tell_groups([model], dataset)
    (tables,) = {id(m): m for m in model.modules() if isinstance(m, EmbeddingTables)}.values()
    return model, tables


def start(root: Path, model: torch.nn.Module, file: VectorFile, table: str = "item") -> list[str]:  # noqa: F811
    return start_vectors(model, load_dataset(root / "day1"), {table: file}, "model.vectors")


def test_vectors_of_the_width_are_moved_and_stretched_together(root: Path, tmp_path: Path) -> None:  # noqa: F811
    known = vocabulary(root).values.to_pylist()
    ids = [known[1], "nobody", known[0]]
    vectors = np.array(drawn(3), np.float64)
    model, tables = built(root)
    (line,) = start(root, model, write(tmp_path / "v.parquet", ids, vectors.tolist()))
    assert f"3 of {len(known)}" not in line
    assert f"2 of {len(known)} values" in line
    assert "1 vectors are of no value" in line
    centred = vectors - vectors.mean(0)
    wanted = centred / np.sqrt((centred**2).mean()) * tables.init_std
    rows = tables.rows_of("item")
    np.testing.assert_allclose(rows[3].numpy(), wanted[0], rtol=1e-5)
    np.testing.assert_allclose(rows[2].numpy(), wanted[2], rtol=1e-5)


def test_wider_vectors_become_their_principal_components(root: Path, tmp_path: Path) -> None:  # noqa: F811
    known = vocabulary(root).values.to_pylist()
    ids = [*known, *(f"other{i}" for i in range(40))]
    vectors = np.array(drawn(len(ids)), np.float64)
    model, tables = built(root, 4)
    (line,) = start(root, model, write(tmp_path / "v.parquet", ids, vectors.tolist()))
    assert "% of their variance in 4 numbers" in line
    centred = vectors - vectors.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    basis = directions[:4].T
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(4)])
    wanted = centred @ basis
    wanted *= tables.init_std / np.sqrt((wanted**2).mean())
    np.testing.assert_allclose(tables.rows_of("item")[2 : 2 + len(known)].numpy(), wanted[: len(known)], atol=2e-5)


def test_a_value_without_a_vector_begins_with_the_mean_of_its_group(root: Path, tmp_path: Path) -> None:  # noqa: F811
    table = vocabulary(root)
    known = table.values.to_pylist()
    assert table.groups is not None
    group = table.groups.members[:, 0]
    (alone,) = np.flatnonzero(group == group[0])[:1]
    others = [i for i in np.flatnonzero(group == group[0]) if i != alone]
    assert others
    with_vector = [i for i in range(len(known)) if i != alone]
    model, tables = built(root)
    file = write(tmp_path / "v.parquet", [known[i] for i in with_vector], drawn(len(with_vector)))
    (line,) = start(root, model, file)
    rows = tables.rows_of("item")
    torch.testing.assert_close(rows[2 + alone], rows[[2 + i for i in others]].mean(0))
    assert "1 have the mean of their group" in line
    torch.testing.assert_close(
        rows[table.first_group + group[0]], rows[2 : table.first_group][group == group[0]].mean(0)
    )


def test_a_new_value_with_a_vector_does_not_begin_with_its_group(root: Path, tmp_path: Path) -> None:  # noqa: F811
    dataset, table = load_dataset(root / "grown"), vocabulary(root, "grown")
    new = [value for value in table.values.to_pylist() if value not in vocabulary(root).values.to_pylist()]
    assert len(new) > 2
    net = dict(torch.load(best(root), weights_only=True)["distill"]["net"])
    model = build_model(net, dataset.schema.serving_view(), "net")
    tell_groups([model], dataset)
    file = write(tmp_path / "v.parquet", ["i10", *new[:2]], drawn(3, 16))
    start_vectors(model, dataset, {"item": file}, "model.vectors")
    (tables,) = {id(m): m for m in model.modules() if isinstance(m, EmbeddingTables)}.values()
    begun = tables.rows_of("item").clone()
    taken = warm_start(model, dataset, best(root), "model.init_from")
    rows = tables.rows_of("item")
    first, second, third = (2 + table.values.to_pylist().index(value) for value in new[:3])
    assert torch.equal(rows[[first, second]], begun[[first, second]])
    assert not torch.equal(rows[third], begun[third])
    assert taken.grouped["item"] > 0


def arguments(root: Path, path: Path, *more: str) -> list[str]:  # noqa: F811
    file = f"model.vectors.item={{path: {path}{''.join(f', {m}' for m in more)}}}"
    return [*on(root, "day1"), *SMALL, "trainer.max_epochs=2", "scheduler=constant", f"+{file}"]


@pytest.mark.slow
def test_frozen_rows_stay_and_others_learn_and_a_run_goes_on(root: Path, tmp_path: Path) -> None:  # noqa: F811
    known = vocabulary(root).values.to_pylist()
    half = known[: len(known) // 2]
    write(tmp_path / "v.parquet", half, drawn(len(half), 16))
    frozen = [a.replace("trainer.max_epochs=2", "trainer.max_epochs=1")
              for a in arguments(root, tmp_path / "v.parquet", "frozen: true")]  # fmt: skip
    train(*frozen, "name=frozen")
    once = rows_of(root, "frozen")
    train(*arguments(root, tmp_path / "v.parquet", "frozen: true"), "name=frozen", "resume=last")
    twice = rows_of(root, "frozen", "last")
    model, tables = built(root, 16)
    start(root, model, VectorFile(tmp_path / "v.parquet"))
    wanted = tables.rows_of("item")[2 : 2 + len(half)]
    assert torch.equal(once[2 : 2 + len(half)], wanted)
    assert torch.equal(twice[2 : 2 + len(half)], wanted)
    assert not torch.equal(once[2 + len(half) : 2 + len(known)], twice[2 + len(half) : 2 + len(known)])
    assert "They do not learn." in (run_dirs(root, "frozen")[0] / "train.log").read_text()
    train(*arguments(root, tmp_path / "v.parquet"), "name=tuned")
    assert not torch.equal(rows_of(root, "tuned")[2 : 2 + len(half)], wanted)
    write(tmp_path / "v.parquet", half, drawn(len(half), 16, seed=1))
    with pytest.raises(SystemExit):  # frozen rows of other content are another run
        train(*arguments(root, tmp_path / "v.parquet", "frozen: true"), "name=frozen", "resume=last")
    (tmp_path / "v.parquet").unlink()
    load_model(best(root, "tuned"))  # a checkpoint does not need the file


def rows_of(root: Path, name: str, which: str = "best") -> torch.Tensor:  # noqa: F811
    path = best(root, name).with_name(f"{which}.ckpt")
    (tables,) = {id(m): m for m in load_model(path).model.modules() if isinstance(m, EmbeddingTables)}.values()
    return tables.rows_of("item").clone()


@pytest.mark.slow
def test_other_vectors_are_another_teacher(root: Path, tmp_path: Path) -> None:  # noqa: F811
    known = vocabulary(root).values.to_pylist()
    common = [*on(root, "day1"), *SMALL, "teacher=trained", "teacher.max_epochs=1", "trainer.max_epochs=1",
              "model@teacher.model=two_tower", "loss=listwise", "control.enabled=false",
              f"+teacher.model.vectors.item={{path: {tmp_path / 'v.parquet'}}}"]  # fmt: skip
    metrics = []
    for seed, name in ((0, "first"), (1, "second"), (1, "third")):
        write(tmp_path / "v.parquet", known, drawn(len(known), 16, seed))
        train(*common, f"name={name}")
        summary = load_summary(run_dirs(root, name)[0])
        assert ("teacher" in summary.cached) == (name == "third")
        metrics.append(summary.metrics["teacher"]["click/logloss"])
    assert metrics[0] != metrics[1] == metrics[2]


@pytest.mark.parametrize(
    ("ids", "vectors", "says"),
    [
        (["a", "a"], [[1.0] * WIDTH] * 2, "two start vectors.*row 1, column 'id'"),
        (["a", None], [[1.0] * WIDTH] * 2, "no id.*row 1, column 'id'"),
        (["a", "b", "c"], [None, [1.0] * WIDTH, [1.0]], "wrong width.*row 2, column 'vector'"),
        (["a", "b"], [[1.0] * WIDTH, [float("nan")] * WIDTH], "not finite.*row 1, value 0, column 'vector'"),
        ([1, 2], [[1.0] * WIDTH] * 2, "another type.*row 0, column 'id'"),
        (["a", "b"], [1.0, 2.0], "no vectors.*column 'vector'"),
        (["a", "b"], [[1.0] * WIDTH] * 2, "the same"),
    ],
)
def test_what_is_wrong_with_a_file(
    root: Path, tmp_path: Path, ids: list[Any], vectors: list[Any], says: str  # noqa: F811
) -> None:  # fmt: skip
    model, _ = built(root)
    with pytest.raises(DataError, match=f"(?s){says}") as error:
        start(root, model, write(tmp_path / "v.parquet", ids, vectors))
    assert str(tmp_path / "v.parquet") in str(error.value)


def test_what_does_not_fit_the_model(root: Path, tmp_path: Path) -> None:  # noqa: F811
    model, _ = built(root)
    file = write(tmp_path / "v.parquet", ["i10", "i11"], drawn(2, 5))
    with pytest.raises(ConfigError, match="narrower"):
        start(root, model, file)
    with pytest.raises(ConfigError, match="rows for raw values"):
        start(root, model, file, "brand")
    with pytest.raises(DataError, match="too few"):
        start(root, built(root, 4)[0], file)
    write(tmp_path / "w.parquet", ["i10"], [[1.0]], vector="v")
    with pytest.raises(DataError, match="column 'vector'"):
        start(root, model, VectorFile(tmp_path / "w.parquet"))
    with pytest.raises(ConfigError, match="can start with vectors"):
        start(root, torch.nn.Linear(1, 1), file)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{path: nowhere.parquet}", "The file of start vectors does not exist."),
        ("{path: 5}", "The start vectors of a table must be a file."),
        ("{path: x.parquet, freeze: true}", "The start vectors of a table must be a file."),
    ],
)
def test_a_config_that_names_no_file(
    root: Path, value: str, says: str, capsys: pytest.CaptureFixture[str]  # noqa: F811
) -> None:  # fmt: skip
    said = message_of(capsys, "train.py", *on(root, "day1"), *SMALL, f"+model.vectors.item={value}")
    assert says in said
    assert "model.vectors.item" in said
