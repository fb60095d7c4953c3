"""A program of torch's, loaded for a device."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from distill.errors import ConfigError, DataError
from distill.serving.manifest import TopKProgram

Run = Callable[..., tuple[Tensor, Tensor, Tensor]]


def device_of(name: str) -> torch.device:
    """Returns a device by its name.

    Raises:
        ConfigError: There is none of that name.
    """
    with contextlib.suppress(RuntimeError):
        device = torch.device(name)
        if device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_available()):
            return device
    raise ConfigError("There is no such device.", where="device", expected="cpu, or cuda on its card", found=name)


def architecture(device: str) -> str:
    """Names what code for a device is compiled for: the processor, or the card."""
    return platform.machine() if device == "cpu" else torch.cuda.get_device_name().replace(" ", "-")


def compiled_name(part: str, device: str) -> str:
    """Names the file of a program that is compiled for a device of this machine."""
    return f"{part}.{device}-{architecture(device)}.pt2"


def load_program(root: Path, program: TopKProgram, device: torch.device, compiled: bool) -> Run:
    """Loads the program of the best candidates.

    Args:
        root: The bundle. torch trusts its file, which may run code when it is read.
        program: Which.
        device: Where it runs.
        compiled: Whether it is the one that AOTInductor compiled for this device.

    Raises:
        DataError: It cannot be loaded, or is not compiled for this device.
    """
    path = root / (_compiled(root, program, device) if compiled else program.file)
    try:
        if compiled:
            package: Run = torch._inductor.aoti_load_package(str(path))
            return package
        run: Run = moved(torch.export.load(path), str(device)).module()
        return run
    except Exception as error:  # torch has many classes for what it cannot read
        raise DataError(
            "A program of a bundle cannot be loaded.", where=str(path), found=" ".join(str(error).split())[:300]
        ) from error


def moved(program: ExportedProgram, device: str) -> ExportedProgram:
    """Returns a program on a device; one that was exported on the CPU is there."""
    if device == "cpu":
        return program
    from torch.export.passes import move_to_device_pass

    found: ExportedProgram = move_to_device_pass(program, device)
    return found


def _compiled(root: Path, program: TopKProgram, device: torch.device) -> str:
    name = program.compiled.get(device.type)
    wanted = compiled_name(Path(program.file).stem, device.type)
    if name != wanted:
        raise DataError(
            "The program is not compiled for this device.",
            where=str(root),
            expected=wanted,
            found=", ".join(program.compiled.values()) or "none",
            remedy=f"Export the bundle on such a machine with compile_for=[{device.type}], or leave compiled out.",
        )
    return name
