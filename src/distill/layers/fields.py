"""What layers over fields ask of the fields' widths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from distill.errors import ConfigError
from distill.layers.checks import check_sizes


def common_width(layer: str, widths: Mapping[str, int]) -> int:
    """Returns the width that all fields have.

    Args:
        layer: Name of the layer, for the message.
        widths: Field name to width.

    Raises:
        ConfigError: There is no field, or the fields have different widths.
    """
    require_fields(layer, widths, 1)
    counts = Counter(widths.values())
    usual, members = counts.most_common(1)[0]
    if len(counts) > 1:
        others = ", ".join(f"{name}={width}" for name, width in widths.items() if width != usual)
        raise ConfigError(
            f"{layer} needs fields of one width.",
            where=others,
            expected=f"{usual}, the width of {members} of the {len(widths)} fields",
            found=others,
            remedy="Give the fields one embedding_dim, bring them to one width with FieldProjection, or take a layer "
            "that allows any widths (KFM, BilinearInteraction with field_interaction, cross networks).",
        )
    return usual


def require_fields(layer: str, widths: Mapping[str, int], least: int) -> None:
    """Checks that there are enough fields and that each has a width.

    Args:
        layer: Name of the layer, for the message.
        widths: Field name to width.
        least: Number of fields that the layer needs.

    Raises:
        ConfigError: There are fewer fields, or one without a width.
    """
    if len(widths) < least:
        raise ConfigError(
            f"{layer} has too few fields.",
            expected=f"at least {least}",
            found=", ".join(widths) or "none",
            remedy="Declare more fields for this side in schema.yaml, or take a model without this layer.",
        )
    check_sizes(layer, widths)


def field_of_column(widths: Mapping[str, int]) -> Tensor:
    """Returns the position of the field that each column of a row belongs to `[ΣD]` int64."""
    return torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(list(widths.values())))
