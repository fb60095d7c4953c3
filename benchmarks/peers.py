"""Yardsticks of other people's code, measured in the same run where their packages are installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.export.programs import quiet
from distill.schema import Kind, Schema, Side
from distill.serving.inputs import ids_of, sequence_of
from distill.serving.program import onnxruntime

Arrays = dict[str, npt.NDArray[Any]]


def rechub_request(
    schema: Schema,
    requests: Sequence[Arrays],
    vectors: npt.NDArray[np.float32],
    places: Sequence[npt.NDArray[Any]],
    path: Path,
) -> Callable[[int], Any] | None:
    """Returns what scores a request with the exported user tower of torch-rechub's DSSM; None without that package.

    It gets its ids encoded and the places of its items, since encoding and keys are left to the user there. Its tower
    is of the size of `model=two_tower`: embeddings of 16, layers of 128 and 64, vectors of 32.

    Args:
        schema: Of the model; its request side is ids and sequences.
        requests: Encoded request sides, as programs take them.
        vectors: Of items `[n, 32]`.
        places: Of the candidates of each request.
        path: Where the program is written.
    """
    if find_spec("torch_rechub") is None:
        return None
    from torch_rechub.basic.features import SequenceFeature, SparseFeature
    from torch_rechub.models.matching import DSSM
    from torch_rechub.utils.onnx_export import ONNXExporter

    fields = schema.side(Side.REQUEST)
    ids = [f for f in fields if f.is_id]
    sequences = [f for f in fields if f.kind is Kind.SEQUENCE]
    user = [SparseFeature(f.name, f.size, 16) for f in ids]
    user += [SequenceFeature(f.name, f.size, 16, pooling="mean", padding_idx=0) for f in sequences]
    dims = {"dims": [128, 64, vectors.shape[-1]]}
    model = DSSM(user, [SparseFeature("rechub_item", 1000, 16)], dims, dims)
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        ONNXExporter(model).export(str(path), mode="user", onnx_export_kwargs={"dynamo": False})
    options = onnxruntime().SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime().InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    fed = [
        {f.name: one[ids_of(Side.REQUEST)][:, place] for place, f in enumerate(ids)}
        | {f.name: one[sequence_of(f)] for f in sequences}
        for one in requests
    ]
    return lambda i: vectors[places[i]] @ session.run(None, fed[i])[0][0]
