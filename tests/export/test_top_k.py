"""The best candidates on a device are those of the bundle, whatever the sizes: on the CPU, and on a card if there is
one."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from distill.data.prepare.progress import PassProgress
from distill.device import Best, DeviceTopK
from distill.device.program import moved
from distill.device.proof import check_top_k, compare
from distill.errors import ConfigError, DataError
from distill.export import BundleOptions, TopKOptions, Trained, write_bundle
from distill.export.top_k import DeviceType
from distill.files import hash_file
from distill.jobs.export import ItemOptions, export_bundle
from distill.sealed import read_sealed, write_sealed
from distill.serving import Bundle, ItemVectors
from distill.serving.items import ItemType
from tests.export.conftest import Log
from tests.export.raw import catalogue
from tests.export.test_item_features import items_of

K = 6
ON_CARD = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no card")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, ON_CARD])]
MODELS = ["two_tower", "three_tower", "late_mlp", "cold", "int_tower", "fit", "interact_rank", "split_towers",
          "logistic", "parallel_two_tower", "quality_score", "dat", "fscd", "dcn_v2", "din", "bst"]  # fmt: skip
pytestmark = pytest.mark.slow  # each model is exported and its program read again


def exported(
    trained: Trained, folder: Path, kind: DeviceType = "float32", stored: ItemType = "float32", k: int = K
) -> Path:
    folder.mkdir()
    items = items_of(folder, catalogue())
    items = ItemOptions(items.source, items.device, stored)
    with PassProgress(False) as bars:
        options = BundleOptions(exported=False, top_k=TopKOptions(k, kind))
        export_bundle(trained, folder / "bundle", options, items, bars)
    return folder / "bundle"


@pytest.fixture(scope="module")
def bundle_of(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Exports a model once."""
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            made[name] = exported(log.trained(name), tmp_path_factory.mktemp(name) / "of")
        return made[name]

    return of


class Requests:
    """Raw requests with candidates of the catalogue.

    Args:
        log: Has their values.
        counts: Candidates of each.
        seed: Of the draws.
    """

    def __init__(self, log: Log, counts: list[int], seed: int = 0) -> None:
        request, candidates, _ = log.raw()
        rng = np.random.default_rng(seed)
        self.counts = counts
        self.request = {name: values.slice(seed, len(counts)) for name, values in request.items()}
        rows = pa.array(rng.integers(0, len(candidates["bid"]), sum(counts)))
        self.pairs = {name: candidates[name].take(rows) for name in ("match", "reason", "bid", "dwell")}
        self.items = [[f"i{i}" for i in rng.integers(0, 50, count)] for count in counts]

    def check(self, found: DeviceTopK, k: int | None = None) -> Best:
        """Compares what a device finds with what the bundle says of all candidates; returns it."""
        best = found.top_k(self.request, self.items, self.pairs, k)
        flat = [key for keys in self.items for key in keys]
        wanted = found.bundle.score_batch(self.request, self.pairs, self.counts, items=flat)
        assert compare(best, wanted, np.array(self.counts), "the device") <= 1e-5
        first = 0
        for row, count in enumerate(self.counts):
            order = self._order(wanted.ranking_score[first : first + count])[: k or K]
            kept = best.places[row][best.places[row] >= 0]
            assert kept.tolist() == order.tolist()
            assert best.keys[row] == [self.items[row][place] for place in order]
            assert np.isneginf(best.ranking_score[row, len(order) :]).all()
            assert (best.places[row, len(order) :] == -1).all()
            assert np.isneginf(best.logits[row, len(order) :]).all()
            first += count
        return best

    @staticmethod
    def _order(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Scores that differ by rounding alone would have no order; these do not."""
        distinct = np.unique(scores)
        assert len(distinct) < 2 or np.diff(distinct).min() > 1e-6
        return np.argsort(-scores, kind="stable")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_the_best_are_those_of_the_bundle(name: str, device: str, bundle_of: Callable[[str], Path], log: Log) -> None:
    """Requests without candidates, with one, with fewer than k, and many; other sizes than those of the example."""
    found = DeviceTopK.load(bundle_of(name), device, trusted=True)
    for seed, counts in enumerate(([3, 0, 1, K, 25], [11], [1], [2] * 9)):
        Requests(log, counts, seed).check(found)
    assert Requests(log, [9, 9]).check(found, k=2).places.shape == (2, 2)
    assert check_top_k(found) <= 1e-5
    nothing = found.top_k({name: values[:2] for name, values in log.raw()[0].items()}, [[], []])
    assert nothing.keys == [[], []]
    assert nothing.ranking_score.shape == (2, K)


@pytest.mark.parametrize("name", ["three_tower", "cold"])
def test_the_program_takes_padding_between_candidates(name: str, bundle_of: Callable[[str], Path], log: Log) -> None:
    """What stands at a place of position -1 changes nothing."""
    found = DeviceTopK.load(bundle_of(name), trusted=True)
    requests = Requests(log, [4, 4])
    inputs = found.encode(requests.request, requests.items, requests.pairs)
    wide = {}
    for key, array in inputs.items():
        of_pair = key == "positions" or key.startswith(("cross_", "score_column_"))
        wide[key] = np.insert(array, [0, 2], -1 if key == "positions" else 1, axis=1) if of_pair else array
    scores, places, _ = found.run(inputs)
    padded_scores, padded_places, _ = found.run(wide)
    np.testing.assert_allclose(padded_scores[:, :4], scores[:, :4], atol=1e-6)
    assert np.isneginf(padded_scores[:, 4:]).all()
    np.testing.assert_array_equal(padded_places[:, :4], np.array([1, 2, 4, 5])[places[:, :4]])
    assert (padded_places[:, 4:] == -1).all()


def test_rows_are_taken_as_columns_are(bundle_of: Callable[[str], Path], log: Log) -> None:
    found = DeviceTopK.load(bundle_of("three_tower"), trusted=True)
    requests = Requests(log, [5, 8])
    by_column = requests.check(found)
    names = list(requests.request)
    rows = [{name: requests.request[name][row].as_py() for name in names} for row in range(2)]
    keys = [pa.array(own) for own in requests.items]
    by_row = found.top_k(rows, keys, requests.pairs)
    np.testing.assert_allclose(by_row.ranking_score, by_column.ranking_score, atol=1e-6)
    assert by_row.keys == by_column.keys
    del rows[1]["city"]
    with pytest.raises(DataError, match=r"column is missing(.|\n)*request 1, column 'city'"):
        found.top_k(rows, keys, requests.pairs)
    with pytest.raises(DataError, match="one list of items for each request"):
        found.top_k(rows[:1], keys, requests.pairs)


def test_wrong_requests_are_named(bundle_of: Callable[[str], Path], log: Log) -> None:
    found = DeviceTopK.load(bundle_of("three_tower"), trusted=True)
    requests = Requests(log, [2, 2])
    with pytest.raises(DataError, match=r"no vector(.|\n)*row 3(.|\n)*i999"):
        found.top_k(requests.request, [["i1", "i2"], ["i3", "i999"]], requests.pairs)
    with pytest.raises(DataError, match=r"not return that many(.|\n)*top_k=7"):
        found.top_k(requests.request, requests.items, requests.pairs, k=7)
    with pytest.raises(DataError, match="candidates, column 'match'"):
        found.top_k(requests.request, requests.items, {"bid": [1.0] * 4})
    with pytest.raises(DataError, match="items, request 1"):
        found.top_k(requests.request, [["i1"], "i2"], requests.pairs)


@pytest.mark.parametrize("stored", ["float32", "int8"])
def test_vectors_in_float16(stored: ItemType, log: Log, tmp_path: Path) -> None:
    root = exported(log.trained("two_tower"), tmp_path / "half", "float16", stored)
    found = DeviceTopK.load(root, trusted=True)
    items = found.bundle.items
    assert isinstance(items, ItemVectors)
    assert found.item_bytes == 2 * 50 * int(np.prod(items.shape))
    requests = Requests(log, [12])
    best = found.top_k(requests.request, requests.items, requests.pairs)
    wanted = found.bundle.score_batch(requests.request, requests.pairs, [12], items=requests.items[0])
    difference = np.abs(best.logits[0] - wanted.logits[best.places[0]]).max()
    assert 0 < difference < 2e-2, "rounded, and not by more"


def test_vectors_that_float16_cannot_hold_and_features_are_refused(log: Log, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no item vectors(.|\n)*top_k_type"):
        exported(log.trained("cold"), tmp_path / "cold", "float16")
    trained = log.trained("late_mlp")
    with torch.no_grad():
        trained.model.get_parameter("candidate_tower.project.bias").add_(1e5)
    with pytest.raises(DataError, match=r"not finite as float16(.|\n)*top_k_type=float32"):
        exported(trained, tmp_path / "large", "float16")
    assert not (tmp_path / "large" / "bundle").exists()
    with pytest.raises(ConfigError, match=r"among stored items(.|\n)*items=FILE"):
        write_bundle(log.trained("two_tower"), tmp_path / "b", BundleOptions(exported=False, top_k=TopKOptions(3)))


def test_other_catalogues_of_the_version_need_no_other_program(
    bundle_of: Callable[[str], Path], log: Log, tmp_path: Path
) -> None:
    trained = log.trained("three_tower")
    tmp = tmp_path / "more"
    tmp.mkdir()
    from distill.jobs.export import export_items

    with PassProgress(False) as bars:
        export_items(trained, tmp / "items", items_of(tmp, catalogue(count=70)), None, False, bars)
        after = catalogue(seed=8, count=60)
        export_items(trained, tmp / "delta", items_of(tmp, after), tmp / "items", True, bars)
        one = catalogue(count=1)
        export_items(trained, tmp / "one", items_of(tmp, one), None, False, bars)
        export_items(trained, tmp / "none", items_of(tmp, one.slice(0, 0)), None, False, bars)
    root = bundle_of("three_tower")
    more = DeviceTopK.load(root, items=tmp / "items", trusted=True)
    requests = Requests(log, [9, 4])
    requests.items = [[*keys[:-1], f"i{60 + row}"] for row, keys in enumerate(requests.items)]
    requests.check(more)
    bundle = more.bundle
    assert isinstance(bundle.items, ItemVectors)
    updated = DeviceTopK.of(bundle.with_items(bundle.items.updated(tmp / "delta")), trusted=True)
    check_top_k(updated)
    Requests(log, [9, 4]).check(updated)
    with pytest.raises(DataError, match="no vector"):
        updated.top_k(requests.request, requests.items, requests.pairs)
    single = Requests(log, [1, 2])
    single.items = [["i0"], ["i0", "i0"]]
    single.check(DeviceTopK.load(root, items=tmp / "one", trusted=True))
    empty = DeviceTopK.load(root, items=tmp / "none", trusted=True)
    assert empty.top_k(single.request, [[], []]).keys == [[], []]


def test_damaged_files_and_other_versions_are_refused(
    bundle_of: Callable[[str], Path], log: Log, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(bundle_of("two_tower"), tmp_path / "copy"))
    path = root / f"top_{K}.pt2"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + b"x" + whole[-8:])
    with pytest.raises(DataError, match=r"not the one that was written(.|\n)*top_6\.pt2"):
        DeviceTopK.load(root, trusted=True)
    path.write_bytes(whole[:1000])
    with pytest.raises(DataError, match="cannot be loaded"):
        DeviceTopK.load(root, check=False, trusted=True)
    content = read_sealed(root / "model.json")
    content["files"].pop(path.name)
    write_sealed(root / "model.json", content)
    with pytest.raises(DataError, match=rf"no hash of {path.name}"):
        DeviceTopK.load(root, trusted=True)
    with pytest.raises(DataError, match="another version"):
        DeviceTopK.load(bundle_of("two_tower"), items=bundle_of("three_tower") / "items", trusted=True)
    with pytest.raises(ConfigError, match="may run code"):
        DeviceTopK.load(bundle_of("two_tower"))
    with pytest.raises(ConfigError, match="no such device"):
        DeviceTopK.load(bundle_of("two_tower"), "gpu", trusted=True)
    with pytest.raises(DataError, match=r"not compiled for this device(.|\n)*compile_for=\[cpu\]"):
        DeviceTopK.load(bundle_of("two_tower"), compiled=True, trusted=True)
    plain = write_bundle(log.trained("two_tower"), tmp_path / "plain", BundleOptions(exported=False))
    with pytest.raises(DataError, match=r"no program of the best(.|\n)*top_k=K"):
        DeviceTopK.of(plain, trusted=True)
    without = Bundle.load(bundle_of("two_tower")).with_items(None)
    with pytest.raises(DataError, match="no stored items"):
        DeviceTopK.of(without, trusted=True)


def test_a_program_of_another_model_is_refused(bundle_of: Callable[[str], Path], log: Log, tmp_path: Path) -> None:
    """Its hash is right, but it scores otherwise."""
    other = log.trained("two_tower")
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.add_(0.05)
    foreign = exported(other, tmp_path / "other")
    root = Path(shutil.copytree(bundle_of("two_tower"), tmp_path / "copy"))
    name = f"top_{K}.pt2"
    shutil.copy(foreign / name, root / name)
    content = read_sealed(root / "model.json")
    content["files"][name] = hash_file(root / name)
    write_sealed(root / "model.json", content)
    assert Bundle.load(root).version == DeviceTopK.load(root, check=False, trusted=True).version
    with pytest.raises(DataError, match="does not find the best candidates"):
        DeviceTopK.load(root, trusted=True)


@pytest.mark.parametrize("change", ["order", "place", "logit", "padding"])
def test_the_proof_sees_what_is_wrong(change: str, bundle_of: Callable[[str], Path], log: Log) -> None:
    found = DeviceTopK.load(bundle_of("three_tower"), trusted=True)
    requests = Requests(log, [4, 20])
    best = requests.check(found)
    flat = [key for keys in requests.items for key in keys]
    wanted = found.bundle.score_batch(requests.request, requests.pairs, [4, 20], items=flat)
    scores, places, logits = best.ranking_score.copy(), best.places.copy(), best.logits.copy()
    if change == "order":  # the second best is left out
        places[1, 1:-1], scores[1, 1:-1], logits[1, 1:-1] = places[1, 2:], scores[1, 2:], logits[1, 2:]
        last = np.argsort(-wanted.ranking_score[4:], kind="stable")[K]
        places[1, -1], scores[1, -1], logits[1, -1] = last, wanted.ranking_score[4 + last], wanted.logits[4 + last]
    elif change == "place":
        places[0, 0] = places[0, 1]
    elif change == "logit":
        logits[1, 2, 0] += 1e-3
    else:
        places[0, 5] = 0
    with pytest.raises(DataError, match="does not find the best candidates"):
        compare(Best(best.keys, scores, places, logits), wanted, np.array([4, 20]), "here")


@pytest.mark.parametrize("name", MODELS)
def test_the_program_moves_to_another_device(name: str, bundle_of: Callable[[str], Path]) -> None:
    """To the device without values, as `load` moves it to a card: tensors left on the CPU would not go together with
    the others, and nothing there can be asked for a number."""
    program = moved(torch.export.load(bundle_of(name) / f"top_{K}.pt2"), "meta")
    arguments, _ = program.example_inputs
    results = program.module()(*arguments)
    assert {tensor.device.type for tensor in (*arguments, *program.state_dict.values(), *results)} == {"meta"}
    assert results[0].shape == (3, K)
    with pytest.raises(RuntimeError, match="device"):
        program.module()(*arguments[:-1], torch.zeros(arguments[-1].shape, dtype=arguments[-1].dtype))


@pytest.mark.parametrize("name", ["three_tower", "cold"])
def test_a_compiled_program_says_the_same(name: str, log: Log, tmp_path: Path) -> None:
    """AOTInductor with the C++ compiler of this machine."""
    options = BundleOptions(exported=False, compile_for=("cpu",), top_k=TopKOptions(K))
    with PassProgress(False) as bars:
        export_bundle(log.trained(name), tmp_path / "b", options, items_of(tmp_path, catalogue()), bars)
    found = DeviceTopK.load(tmp_path / "b", compiled=True, trusted=True)
    assert found.program.compiled == {"cpu": f"top_{K}.cpu-{platform.machine()}.pt2"}
    for seed, counts in enumerate(([3, 0, 1, K, 25], [11], [1])):
        Requests(log, counts, seed).check(found)


def test_a_process_without_lightning_and_hydra_finds_them(bundle_of: Callable[[str], Path]) -> None:
    program = """
import sys
for name in ("pytorch_lightning", "lightning", "hydra", "omegaconf", "onnx", "onnxscript"):
    sys.modules[name] = None
from distill.device import DeviceTopK
found = DeviceTopK.load(sys.argv[1], trusted=True)
print(found.program.k, len(found.stored))
"""
    arguments = [sys.executable, "-c", program, str(bundle_of("two_tower"))]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(K), "50"]


def test_the_card_of_the_bundle_names_the_program(bundle_of: Callable[[str], Path]) -> None:
    text = (bundle_of("three_tower") / "README.md").read_text()
    assert f"| the best {K} | `top_{K}.pt2` |" in text
