"""A bundle says of raw requests what the checkpoint says of them prepared; damaged or foreign ones are refused."""

from __future__ import annotations

import errno
import itertools
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill.errors import ConfigError, DataError
from distill.export import BundleOptions, Trained, write_bundle
from distill.export.flat import Signature, example
from distill.files import hash_file
from distill.models.score import RankingScore
from distill.sealed import read_sealed, write_sealed
from distill.serving import Bundle
from distill.serving.program import RunningProgram
from distill.serving.proof import COUNT, ROUNDING, SCORES, check_golden, golden_bounds, golden_inputs
from tests.export.conftest import Log
from tests.marks import slow_except
from tests.models.listing import MODELS

ONNX_ALONE = BundleOptions(exported=False)
OWN_SEQUENCES = ("bst", "din", "fit", "logistic", "lr", "quality_score")
TRANSFORMER = "sequence@model.net.sequence=transformer"
WITH_TRANSFORMER = [(name, TRANSFORMER) for name in MODELS if name not in OWN_SEQUENCES]
LOSES_DIGITS = "wukong"  # on a golden request: 4e-5 from ONNX Runtime to torch, 1.6e-5 to double precision


def check_raw_rows(log: Log, trained: Trained, bundle: Bundle) -> None:
    """Scores the new day from raw values, all at once and request by request.

    Its vectors are far from standard, so that some models lose more in float32 than the golden requests allow; a
    bundle may be as far from the checkpoint as three times what the checkpoint itself is from double precision.
    """
    wanted, bound = log.expected(trained), max(1e-5, 3 * log.rounding(trained))
    request, candidates, counts = log.raw()
    found = bundle.score_batch(request, candidates, counts)
    np.testing.assert_allclose(found.logits, wanted, atol=bound, rtol=1e-5)
    columns = {"bid": torch.from_numpy(candidates["bid"].to_numpy().astype(np.float32))}
    order = RankingScore(trained.schema)(torch.from_numpy(wanted), columns)
    np.testing.assert_allclose(found.ranking_score, order.numpy(), atol=10 * bound, rtol=1e-5)
    np.testing.assert_allclose(found.predictions["stars"], wanted[:, 2], atol=bound, rtol=1e-5)
    first = 0
    for row, count in enumerate(counts[:6].tolist()):
        one = {name: values[row].as_py() for name, values in request.items()}
        of_one = {name: values.slice(first, count).to_pylist() for name, values in candidates.items()}
        alone = bundle.score(one, of_one)
        np.testing.assert_allclose(alone.logits, wanted[first : first + count], atol=bound, rtol=1e-5)
        assert sorted(alone.order().tolist()) == list(range(count))
        assert (np.diff(alone.ranking_score[alone.order()]) <= 0).all()
        first += count


@pytest.mark.parametrize(
    ("name", "sequence"),
    slow_except(
        [*((name, None) for name in MODELS if name != LOSES_DIGITS), *WITH_TRANSFORMER],
        ("two_tower", None),
    ),
)  # fmt: skip
def test_every_model_scores_raw_rows_as_the_checkpoint_scores_prepared_ones(
    name: str, sequence: str | None, log: Log, tmp_path: Path
) -> None:
    trained = log.trained(name, *([] if sequence is None else [sequence]))
    bundle = write_bundle(trained, tmp_path / "bundle", ONNX_ALONE)
    check_raw_rows(log, trained, bundle)
    assert bundle.manifest.difference <= (1e-4 if name == LOSES_DIGITS else 1e-5)


def test_what_the_checkpoint_loses_in_float32_a_bundle_may_lose_too(
    log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """WuKong multiplies fields in each layer: one golden candidate is 4e-5 from the checkpoint, which is 1.6e-5 from
    double precision there. No other candidate may be as far."""
    trained = log.trained(LOSES_DIGITS)
    bundle = write_bundle(trained, tmp_path / "bundle", ONNX_ALONE)
    assert "the checkpoint itself loses digits" in caplog.text
    assert "Do not serve it" not in caplog.text
    assert 1e-5 < bundle.manifest.difference < 1e-4
    _, wanted, allowed = golden_inputs(bundle)
    assert np.median(allowed) == pytest.approx(1e-5)
    assert 4e-5 < allowed.max() < 1e-4
    row = int(allowed.argmin())
    moved = copied(bundle, tmp_path)
    rewrite_logit(moved / "golden.parquet", row, float(wanted[row, 0]) + 2e-5)
    with pytest.raises(DataError, match=f"candidate {row}, task click") as raised:
        check_golden(Bundle.assembled(moved, bundle.manifest))
    assert "within 1e-05" in str(raised.value)


def test_no_candidate_may_differ_by_more_than_a_thousandth() -> None:
    lost = [0.0, 1e-5, 1.0, float("nan")]
    scores = pa.array([[{"click": 0.0, ROUNDING: one} for one in lost]])
    allowed = golden_bounds(pa.table({COUNT: [len(lost)], SCORES: scores}))
    np.testing.assert_allclose(allowed, [1e-5, 4e-5, 1e-3, 1e-5], rtol=1e-6)
    np.testing.assert_allclose(golden_bounds(pa.table({COUNT: [2]})), [1e-5, 1e-5])


def rewrite_logit(path: Path, row: int, logit: float) -> None:
    """Puts another logit of the first task into golden requests."""
    table = pq.read_table(path)
    flat = [dict(candidate) for request in table["scores"].to_pylist() for candidate in request]
    flat[row]["click"] = logit
    counts = np.cumsum([0, *map(len, table["scores"].to_pylist())])
    lists = [flat[first:last] for first, last in itertools.pairwise(counts)]
    column = pa.array(lists, table["scores"].type)
    pq.write_table(table.set_column(table.column_names.index("scores"), "scores", column), path)


@pytest.mark.slow
def test_searched_sequences_too(log: Log, tmp_path: Path) -> None:
    """By inner products; hard search wants a key of the candidate for each sequence, and the words have none."""
    trained = log.trained("din", "sequence@model.net.sequence=searched_attention", "model.net.sequence.top_k=2")
    check_raw_rows(log, trained, write_bundle(trained, tmp_path / "bundle", ONNX_ALONE))
    with pytest.raises(ConfigError, match="No candidate has a key to search sequence words by"):
        log.trained("din", "sequence@model.net.sequence=searched_attention", "model.net.sequence.search=hard")


@pytest.fixture(scope="module")
def trained(log: Log) -> Trained:
    return log.trained("three_tower")


@pytest.fixture(scope="module")
def bundle(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(trained, tmp_path_factory.mktemp("bundle") / "b", BundleOptions())


def copied(bundle: Bundle, to: Path) -> Path:
    return Path(shutil.copytree(bundle.root, to / "copy"))


def test_torch_export_programs_take_other_sizes(bundle: Bundle, trained: Trained) -> None:
    program = torch.export.load(bundle.root / "request.pt2").module()
    signature = Signature.of("request", trained.schema)
    tensors = example(trained.schema, signature, {}, seed=4)
    few = tuple(tensor[:1] for tensor in tensors)
    torch.testing.assert_close(program(*few), program(*tensors)[:1], atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_a_disk_that_fills_up_under_a_torch_program_is_an_error(tmp_path: Path) -> None:
    """In a process of its own: its files may have 4 KiB each, and torch ended such a process in C++."""
    program = """
import resource, signal, sys, torch
from pathlib import Path
from distill.export.programs import save_exported
module = torch.nn.Linear(64, 64)
exported = torch.export.export(module, (torch.zeros(2, 64),))
save_exported(exported, Path(sys.argv[1], "whole.pt2"))
assert torch.export.load(Path(sys.argv[1], "whole.pt2")).module()(torch.ones(2, 64)).shape == (2, 64)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    save_exported(exported, Path(sys.argv[1], "cut.pt2"))
except OSError as error:
    print(error.errno)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(errno.EFBIG)]


@pytest.mark.slow
def test_compiled_programs_say_the_same_and_name_their_device(trained: Trained, tmp_path: Path) -> None:
    """AOTInductor with the C++ compiler of this machine; their inputs are those of the ONNX programs."""
    bundle = write_bundle(trained, tmp_path / "b", BundleOptions(exported=False, compile_for=("cpu",)))
    inputs, _, _ = golden_inputs(bundle)
    for part in ("request", "candidate"):
        program = bundle.manifest.programs[part]
        assert program.compiled == {"cpu": f"{part}.cpu-{platform.machine()}.pt2"}
        assert program.compiled["cpu"] in bundle.manifest.files
        compiled = torch._inductor.aoti_load_package(str(bundle.root / program.compiled["cpu"]))
        for rows in (1, None):
            given = {name: inputs[name][:rows] for name in program.inputs}
            found = compiled(*(torch.from_numpy(array) for array in given.values()))
            wanted = RunningProgram(bundle.root, program, 1).run(given)
            np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5, rtol=1e-5)


def test_both_towers_share_their_tables_in_one_file(bundle: Bundle, trained: Trained) -> None:
    (tables,) = (p for n, p in trained.model.named_parameters() if n == "request_tower.encoder.tables.weights.4")
    content = (bundle.root / "weights.bin").read_bytes()
    data = tables.detach().numpy().tobytes()
    assert len(data) < 4096 or content.count(data) == 1


def test_a_request_without_candidates_has_no_scores(bundle: Bundle, log: Log) -> None:
    request, candidates, _ = log.raw()
    one = {name: values[0].as_py() for name, values in request.items()}
    empty = bundle.score(one, {name: [] for name in candidates})
    assert empty.logits.shape == (0, 3)
    assert empty.order().tolist() == []


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("city", "Rome", "field 'city'"),
        ("age", float("inf"), "field 'age'"),
        ("past", 7, "field 'past'"),
        ("past", [["i1"]], "field 'past'"),
        ("taste", "far", "field 'taste'"),
        ("taste", [1.0, 2.0], "field 'taste'"),
        ("user", "u7", "field 'user'"),
        ("user", None, None),
    ],
)
def test_a_wrong_value_is_named(bundle: Bundle, log: Log, column: str, value: object, said: str | None) -> None:
    request, candidates, counts = log.raw()
    one = {name: values[0].as_py() for name, values in request.items()} | {column: value}
    of_one = {name: values.slice(0, int(counts[0])) for name, values in candidates.items()}
    if said is None:
        assert np.isfinite(bundle.score(one, of_one).logits).all()
        return
    with pytest.raises(DataError, match=said):
        bundle.score(one, of_one)


def test_missing_and_uneven_columns_are_named(bundle: Bundle, log: Log) -> None:
    request, candidates, counts = log.raw()
    one = {name: values[0].as_py() for name, values in request.items()}
    of_one = {name: values.slice(0, int(counts[0])) for name, values in candidates.items()}
    with pytest.raises(DataError, match="request, column 'city'"):
        bundle.score({name: value for name, value in one.items() if name != "city"}, of_one)
    with pytest.raises(DataError, match="candidates, column 'brand'"):
        bundle.score(one, {**of_one, "brand": [1]} if counts[0] != 1 else {**of_one, "brand": [1, 2]})
    junk = {"note": ["of another length"] * (int(counts[0]) + 1), **of_one}  # that nothing reads
    np.testing.assert_array_equal(bundle.score(one, junk).logits, bundle.score(one, of_one).logits)
    with pytest.raises(DataError, match="score column"):
        bundle.score(one, {**of_one, "bid": [0.0] * int(counts[0])})


@pytest.mark.parametrize("file", ["weights.bin", "request.onnx", "candidate.pt2", "golden.parquet", "encodings/*"])
def test_a_flipped_bit_is_refused(bundle: Bundle, file: str, tmp_path: Path) -> None:
    root = copied(bundle, tmp_path)
    (path, *_) = root.glob(file)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="not the one that was written"):
        Bundle.load(root)


def test_a_manifest_that_was_edited_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    root = copied(bundle, tmp_path)
    text = (root / "model.json").read_text()
    (root / "model.json").write_text(text.replace('"kinds"', '"other"'))
    with pytest.raises(DataError, match="cannot be read"):
        Bundle.load(root)
    with pytest.raises(DataError, match="is not a bundle"):
        Bundle.load(tmp_path)


def test_another_model_under_the_golden_scores_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """Weights and hashes agree, but the scores are those of another model."""
    root = copied(bundle, tmp_path)
    path = root / "golden.parquet"
    table = pq.read_table(path)
    rows = table["scores"].to_pylist()
    rows[3][0]["buy"] += 1e-3
    table = table.set_column(table.column_names.index("scores"), "scores", pa.array(rows, table["scores"].type))
    pq.write_table(table, path)
    with pytest.raises(DataError, match=r"request 3, candidate 0, task buy|all together, candidate \d+, task buy"):
        check_golden(Bundle.assembled(root, bundle.manifest))
    content = read_sealed(root / "model.json")
    content["files"]["golden.parquet"] = hash_file(path)
    write_sealed(root / "model.json", content)
    with pytest.raises(DataError, match="does not score its golden requests"):
        Bundle.load(root)


@pytest.mark.parametrize("file", ["golden.parquet", "request.onnx", "candidate.pt2"])
def test_what_has_no_hash_is_refused(bundle: Bundle, file: str, tmp_path: Path) -> None:
    root = copied(bundle, tmp_path)
    content = read_sealed(root / "model.json")
    content["files"].pop(file)
    write_sealed(root / "model.json", content)
    with pytest.raises(DataError, match=f"no hash of {file}"):
        Bundle.load(root)


def test_another_ranking_score_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    root = copied(bundle, tmp_path)
    content = read_sealed(root / "model.json")
    content["fields_schema"]["score"]["tasks"]["click"] = -1.0
    write_sealed(root / "model.json", content)
    with pytest.raises(DataError, match="does not order its golden requests"):
        Bundle.load(root)


def test_nothing_outside_the_folder_is_read(bundle: Bundle, tmp_path: Path) -> None:
    root = copied(bundle, tmp_path)
    content = read_sealed(root / "model.json")
    content["programs"]["request"]["file"] = "../request.onnx"
    write_sealed(root / "model.json", content)
    with pytest.raises(DataError, match="does not lie below"):
        Bundle.load(root)


def test_the_version_follows_weights_and_encodings(log: Log, trained: Trained) -> None:
    again = log.trained("three_tower")
    assert again.version == trained.version
    with torch.no_grad():
        next(again.model.parameters()).view(-1)[0] += 1
    assert Trained(again.model, again.schema, again.encodings).version != trained.version
    of_new = log.new.manifest.encodings  # the same encodings in files of another dataset
    assert trained.encodings.saved.fingerprint(trained.schema.fields) == of_new.of(trained.schema.fields).fingerprint(
        trained.schema.fields
    )


def test_a_model_that_torch_cannot_export_leaves_nothing(log: Log, tmp_path: Path) -> None:
    trained = log.trained("two_tower")

    class Odd(torch.nn.Module):
        def forward(self, batch: object) -> object:
            raise RuntimeError("no such thing")

    with pytest.raises(ConfigError, match="part `whole` of the model cannot be exported"):
        write_bundle(Trained(Odd(), trained.schema, trained.encodings), tmp_path / "b", ONNX_ALONE)
    assert list(tmp_path.iterdir()) == []


def test_programs_hold_no_paths_of_where_they_were_made(bundle: Bundle) -> None:
    for path in bundle.root.glob("*.onnx"):
        assert b"site-packages" not in path.read_bytes()
        assert b"src/distill" not in path.read_bytes()


def test_the_card_says_what_is_in_it(bundle: Bundle) -> None:
    text = (bundle.root / "README.md").read_text()
    assert bundle.version in text
    assert all(f"| `{f.column}` | `{f.name}`" in text for f in bundle.schema.fields)
    assert json.loads((bundle.root / "model.json").read_text())["model"] == "ThreeTower"
