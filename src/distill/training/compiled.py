"""torch.compile of the dense layers of a model."""

from __future__ import annotations

from torch import nn

from distill.errors import ConfigError

_MODES = ("default", "reduce-overhead", "max-autotune")
_LAYERS = "distill.layers."


def compile_dense(model: nn.Module, mode: str, dynamic: bool | None) -> None:
    """Compiles the outermost layers of `distill.layers` in place: names in checkpoints do not change.

    Embedding lookups stay eager: their gradients are sparse, which the compiler does not take.

    Args:
        model: Any model.
        mode: `default`, `reduce-overhead` or `max-autotune`.
        dynamic: Whether one compilation serves all batch sizes; None lets torch find out.

    Raises:
        ConfigError: There is no such mode, or nothing to compile.
    """
    if mode not in _MODES:
        raise ConfigError("Unknown mode.", where="compile.mode", expected=" | ".join(_MODES), found=mode)
    layers = _outermost_layers(model)
    if not layers:
        raise ConfigError(
            "The model has no layer to compile.",
            where="compile.enabled",
            expected=f"a module of {_LAYERS}*",
            found=type(model).__name__,
        )
    for layer in layers:
        layer.compile(mode=mode, dynamic=dynamic)


def _outermost_layers(module: nn.Module) -> list[nn.Module]:
    if type(module).__module__.startswith(_LAYERS):
        return [module]
    return [layer for child in module.children() for layer in _outermost_layers(child)]
