"""Checks of the sizes that layers are built with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill.errors import ConfigError


def check_sizes(layer: str, sizes: Mapping[str, int]) -> None:
    """Checks that sizes are positive.

    Args:
        layer: Name of the layer, for the message.
        sizes: Argument name to size.

    Raises:
        ConfigError: A size is below 1.
    """
    wrong = {name: size for name, size in sizes.items() if size < 1}
    if wrong:
        raise ConfigError(
            f"{layer} cannot have these sizes.",
            where=", ".join(wrong),
            expected="at least 1",
            found=", ".join(f"{name}={size}" for name, size in wrong.items()),
        )


def check_layers(layer: str, argument: str, widths: Sequence[int]) -> None:
    """Checks that there is a layer and that each has units.

    Args:
        layer: Name of the module, for the message.
        argument: Name of the argument, for the message.
        widths: Units of each layer.

    Raises:
        ConfigError: There is none, or one without units.
    """
    if not widths or min(widths) < 1:
        raise ConfigError(
            f"{layer} cannot have these layers.",
            where=argument,
            expected="one width or more, each at least 1",
            found=str(list(widths)),
        )
