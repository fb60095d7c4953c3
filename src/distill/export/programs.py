"""Exports parts of a model as `torch.export` programs and, from these, as ONNX files."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from distill.device.program import compiled_name, moved
from distill.errors import ConfigError
from distill.export.columns import rewrite_column_gathers
from distill.export.flat import FlatPart, Signature, example
from distill.export.weights import SharedWeights
from distill.schema import Schema
from distill.serving.inputs import REQUEST
from distill.serving.manifest import Program

_TALKATIVE = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "torch._inductor")


@dataclass(frozen=True)
class ExportedPart:
    """A part of a model as a program.

    Attributes:
        signature: What it takes and gives.
        program: It.
    """

    signature: Signature
    program: ExportedProgram


def export_part(model: nn.Module, schema: Schema, signature: Signature, vectors: Mapping[str, Tensor]) -> ExportedPart:
    """Exports a part with any number of requests, candidates and values of sequences.

    Args:
        model: In evaluation mode.
        schema: Its view of the schema.
        signature: Of the part.
        vectors: Examples of `request` and `candidate`, of the part `interact`.

    Raises:
        ConfigError: torch cannot export it.
    """
    arguments = example(schema, signature, vectors)
    sizes = tuple(_dynamic(name, signature.part) for name in signature.inputs)
    part = FlatPart(model, schema, signature).eval()
    return ExportedPart(signature, export_module(part, arguments, sizes, signature.part, type(model).__name__))


def export_module(
    module: nn.Module, arguments: tuple[Tensor, ...], sizes: Sequence[dict[int, Any]], part: str, model: str
) -> ExportedProgram:
    """Exports a module.

    Args:
        module: In evaluation mode; it takes any number of tensors.
        arguments: Examples of these.
        sizes: Of each argument the sizes that may be others.
        part: Name of what it is, for errors.
        model: Name of the model's class, for errors.

    Raises:
        ConfigError: torch cannot export it.
    """
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(module, arguments, dynamic_shapes=(tuple(sizes),), strict=False)
    except Exception as error:  # torch has many classes for what it cannot do
        raise ConfigError(
            f"The part `{part}` of the model cannot be exported by torch.",
            where=model,
            found=" ".join(str(error).split())[:300],
        ) from error


def _dynamic(name: str, part: str) -> dict[int, Any]:
    """The first size of everything, but of the only request, and the length of a padded sequence."""
    if part == "single" and name == REQUEST:
        return {}
    dims = [0, 1] if "_sequence_" in name else [0]
    return dict.fromkeys(dims, Dim.DYNAMIC)


def write_part(
    root: Path, part: ExportedPart, weights: SharedWeights, exported: bool, compiled: Sequence[str]
) -> Program:
    """Writes a part as an ONNX file, and as other programs if these are asked for.

    Args:
        root: Folder of the bundle.
        part: It.
        weights: Of all parts.
        exported: Whether to write the `torch.export` program too.
        compiled: Devices for which to compile it with AOTInductor.

    Raises:
        ConfigError: A package that is needed is not installed, or a compiler is missing.
    """
    name = part.signature.part
    onnx = _onnx_program(part)
    rewrite_column_gathers(onnx.model)
    weights.save(onnx.model, root / f"{name}.onnx")
    found: dict[str, str] = {}
    if exported:
        save_exported(part.program, root / f"{name}.pt2")
    for device in compiled:
        found[device] = compile_program(root, name, part.program, device)
    return Program(
        file=f"{name}.onnx",
        inputs=part.signature.inputs,
        output=part.signature.output,
        exported=f"{name}.pt2" if exported else None,
        compiled=found,
    )


def save_exported(program: ExportedProgram, path: Path) -> None:
    """Writes a `torch.export` program.

    Raises:
        OSError: The disk is full.
    """
    with path.open("wb") as file:
        stream = _Stream(file)
        with quiet():
            torch.export.save(program, stream)
        if stream.error is not None:
            raise stream.error


class _Stream(io.BytesIO):
    """Passes everything on to a file, and keeps its error for later: one in the middle ends torch's writer, and the
    process with it."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes bytes; returns how many."""
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)


def _onnx_program(part: ExportedPart) -> Any:
    try:
        with quiet(), torch.no_grad():
            return torch.onnx.export(
                part.program,
                input_names=list(part.signature.inputs),
                output_names=[part.signature.output],
                dynamo=True,
                verbose=False,
                optimize=True,
            )
    except ImportError as error:
        raise ConfigError(
            "Writing ONNX files needs packages that are not installed.",
            found=str(error)[:200],
            remedy="Install it: pip install 'distill-ranker[export]'.",
        ) from error
    except Exception as error:  # torch.onnx has a class of its own for each stage
        raise ConfigError(
            f"The part `{part.signature.part}` of the model cannot be written as ONNX.",
            found=" ".join(str(error).split())[:300],
        ) from error


def compile_program(root: Path, part: str, program: ExportedProgram, device: str) -> str:
    """Compiles a program with AOTInductor; returns the name of its file, which names the device.

    Args:
        root: Folder of the bundle.
        part: Name of the program.
        program: It; it is moved to the device.
        device: `cpu` or `cuda`.

    Raises:
        ConfigError: There is no such device, or no compiler.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError("There is no such device to compile for.", where="compile_for", found=device)
    name = compiled_name(part, device)
    try:
        with quiet():
            torch._inductor.aoti_compile_and_package(moved(program, device), package_path=str(root / name))
    except Exception as error:  # whatever a compiler says
        raise ConfigError(
            "AOTInductor could not compile the model.",
            where="compile_for",
            found=" ".join(str(error).split())[:300],
            remedy="Install a C++ compiler, or leave compile_for empty.",
        ) from error
    return name


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps exporters from talking to the terminal; errors come as exceptions."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
