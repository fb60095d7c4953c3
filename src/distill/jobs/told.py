"""What losses and samplers may ask about the dataset: the same whether a step is trained or replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from distill.data.catalogue import load_catalogue
from distill.data.format import Dataset
from distill.data.items import item_fields
from distill.data.missing import missing_row
from distill.data.popularity import item_exposures
from distill.losses.setting import LossSetting
from distill.schema import Schema, Side


def told_of_dataset(
    setting: LossSetting, dataset: Callable[[], Dataset], batches: Schema, student: Schema
) -> LossSetting:
    """Adds what there is to know of a dataset to a setting.

    Args:
        setting: What is known without it.
        dataset: Returns the dataset, for who asks.
        batches: The fields of batches.
        student: The fields that the student sees.
    """
    return replace(
        setting,
        items=lambda: item_fields(dataset(), student),
        catalogue=lambda: load_catalogue(dataset(), batches),
        exposures=lambda: item_exposures(dataset()),
        missing_cross=lambda: missing_row(dataset(), batches.side(Side.CROSS)),
    )
