"""A part of a model in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.errors import ConfigError, DataError
from distill.serving.inputs import Arrays
from distill.serving.manifest import Program


class RunningProgram:
    """A program that is loaded; it may be run by several threads at a time.

    Args:
        root: The bundle.
        program: Which.
        threads: That one call uses.

    Attributes:
        inputs: Names of what it is fed.

    Raises:
        DataError: The file is not a program, or one with other inputs.
        ConfigError: ONNX Runtime is not installed.
    """

    def __init__(self, root: Path, program: Program, threads: int) -> None:
        runtime = onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        path = root / program.file
        self._where = str(path)
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has a class of its own for each cause
            raise DataError(
                "A program of a bundle cannot be loaded.", where=str(path), found=" ".join(str(error).split())[:300]
            ) from error
        self.inputs = tuple(entry.name for entry in self._session.get_inputs())
        self._output = program.output
        outputs = [entry.name for entry in self._session.get_outputs()]
        if not set(self.inputs) <= set(program.inputs) or program.output not in outputs:
            raise DataError(
                "A program of a bundle has other inputs or outputs than its description says.",
                where=str(path),
                expected=f"{', '.join(program.inputs)} → {program.output}",
                found=f"{', '.join(self.inputs)} → {', '.join(outputs)}",
            )

    def run(self, arrays: Arrays) -> npt.NDArray[np.float32]:
        """Runs the program.

        Args:
            arrays: Holds at least what it is fed.

        Raises:
            DataError: It cannot take them.
        """
        try:
            found: list[npt.NDArray[np.float32]] = self._session.run(
                [self._output], {name: arrays[name] for name in self.inputs}
            )
        except Exception as error:  # ONNX Runtime has a class of its own for each cause
            raise DataError(
                "A program of a bundle does not run.", where=self._where, found=" ".join(str(error).split())[:300]
            ) from error
        return found[0]


def onnxruntime() -> Any:
    """Imports ONNX Runtime.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import onnxruntime as runtime
    except ImportError as error:
        raise ConfigError(
            "Bundles run in ONNX Runtime, which is not installed.",
            remedy="Install it: pip install onnxruntime.",
        ) from error
    return runtime
