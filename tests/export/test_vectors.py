"""A bundle reads sequences of vectors as the checkpoint does, for every way to encode them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.errors import DataError
from distill.export import write_bundle
from tests.export.conftest import Log, write_log
from tests.export.raw import FELT
from tests.export.test_bundle import ONNX_ALONE, check_raw_rows
from tests.marks import slow_except


@pytest.fixture(scope="module")
def felt_log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return write_log(tmp_path_factory.mktemp("felt"), FELT)


MODELS = [
    ("two_tower", "mean"),
    ("two_tower", "transformer"),
    ("din", "target_attention"),
    ("bst", "target_transformer"),
]
MODELS += [("fit", "mean"), ("cold", "mean"), ("split_towers", "mean")]


@pytest.mark.parametrize(("name", "sequence"), slow_except(MODELS, ("two_tower", "mean")))
def test_raw_rows_are_scored_as_prepared_ones(name: str, sequence: str, felt_log: Log, tmp_path: Path) -> None:
    trained = felt_log.trained(name, f"sequence@model.net.sequence={sequence}")
    bundle = write_bundle(trained, tmp_path / "bundle", ONNX_ALONE)
    check_raw_rows(felt_log, trained, bundle)
    request, candidates, counts = felt_log.raw()
    one = {column: values[0].as_py() for column, values in request.items()}
    of_one = {column: values.slice(0, int(counts[0])) for column, values in candidates.items()}
    scores = [bundle.score({**one, "felt": felt}, of_one).logits for felt in (None, [], [None])]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])
    assert np.abs(bundle.score({**one, "felt": [[1.0, -2.0]]}, of_one).logits - scores[0]).max() > 1e-4
    for wrong in ([1.0, 2.0], [[1.0]], [[1.0, None]], [[1.0, float("inf")]], "far"):
        with pytest.raises(DataError, match="field 'felt'"):
            bundle.score({**one, "felt": wrong}, of_one)
