"""The weights of all programs of a bundle in one file: both towers of a model share their tables."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

FILE = "weights.bin"
_SMALLEST = 4096  # smaller ones stay in the program
_ALIGN = 4096  # so that a runtime maps them into memory


class SharedWeights:
    """Writes large weights to a file, each content once.

    Args:
        root: Folder of the bundle.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / FILE
        self._places: dict[str, int] = {}
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> SharedWeights:
        self._stream = self.path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._stream is not None
        self._stream.close()

    def save(self, model: Any, path: Path) -> None:
        """Writes a model of `onnx_ir` whose large weights are in the shared file.

        Args:
            model: Of one part; its weights are exchanged for references.
            path: Beside the shared file.
        """
        import onnx_ir as ir

        for node in model.graph:
            node.metadata_props.clear()  # where in whose source each step was written
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is None or tensor.nbytes < _SMALLEST:
                continue
            content = np.ascontiguousarray(tensor.numpy())
            value.const_value = ir.ExternalTensor(
                FILE,
                self._place(content),
                tensor.nbytes,
                tensor.dtype,
                shape=tensor.shape,
                name=tensor.name,
                base_dir=str(path.parent),
            )
        ir.save(model, path)

    def _place(self, content: np.ndarray[Any, Any]) -> int:
        data = content.reshape(-1).view(np.uint8).data
        digest = hashlib.blake2b(data, digest_size=16).hexdigest()
        if digest not in self._places:
            assert self._stream is not None
            self._stream.write(b"\0" * (-self._stream.tell() % _ALIGN))
            self._places[digest] = self._stream.tell()
            self._stream.write(data)
            self._stream.flush()
        return self._places[digest]
