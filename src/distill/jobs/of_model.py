"""Data as a model reads it: a prepared dataset of its encodings, or raw files that are prepared with them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from distill.data.build import build_dataset
from distill.data.dataset import load_dataset
from distill.data.format import Dataset
from distill.data.prepare import KnownEncodings
from distill.data.raw import DatasetSource, RawDataset
from distill.data.split import WholeSplit
from distill.errors import ConfigError, DataError
from distill.jobs.encoded import check_encodings
from distill.jobs.node import build
from distill.jobs.parts import LoadedModel
from distill.ops.ranks import rank
from distill.schema import FieldSpec, Schema
from distill.training.rendezvous import text_of_rank_zero


@dataclass(frozen=True)
class _OfModel:
    """The raw files of a source, all in the test split, with the fields of a model."""

    source: DatasetSource
    fields: tuple[FieldSpec, ...]
    checkpoint: Path

    @property
    def name(self) -> str:
        return self.source.name

    def fingerprint(self) -> str:
        fields = [f.model_dump(mode="json") for f in self.fields]
        return hashlib.blake2b(json.dumps([self.source.fingerprint(), fields]).encode(), digest_size=16).hexdigest()

    def write_raw(self, directory: Path) -> RawDataset:
        raw = self.source.write_raw(directory)
        if raw.apart:
            raise ConfigError(
                "Raw files are measured completely and have no splits.",
                where="data.source",
                expected="the files to measure",
                found=f"files of {', '.join(('train', *raw.apart))}",
                remedy="Name those of one split: data.source=FILES, or prepare them all and use data=prepared.",
            )
        return replace(raw, schema=self._schema(raw.schema), split=WholeSplit("test"), items=None)

    def _schema(self, schema: Schema) -> Schema:
        """The schema of the files with the fields of the model, in their order, from the columns that it names."""
        declared = {f.name: f for f in schema.fields}
        missing = [f.name for f in self.fields if f.name not in declared]
        if missing:
            raise DataError(
                "The model reads fields that the schema does not declare.",
                where=str(self.checkpoint),
                expected=", ".join(f.name for f in self.fields),
                found=f"without {', '.join(missing)}",
                remedy="Declare them in the schema of the data, with the columns that hold them.",
            )
        fields = tuple(self._read_as(f, declared[f.name]) for f in self.fields)
        return schema.model_copy(update={"fields": fields})

    def _read_as(self, own: FieldSpec, declared: FieldSpec) -> FieldSpec:
        """Returns a field of the model that is read from the columns that the files have for it."""
        if own.making != declared.making:
            raise DataError(
                "The model's field is made of raw columns in another way.",
                where=f"field {own.name!r}, made",
                expected=own.making or "a column of its own",
                found=declared.making or "a column of its own",
                remedy="Declare `made` as it was when the model was trained; its columns may have other names.",
            )
        return own.model_copy(update={"column": declared.column, "made": declared.made, "size": None})


def dataset_of_model(cfg: DictConfig, loaded: LoadedModel, checkpoint: Path) -> Dataset:
    """Returns the data of a config as a model reads it; all ranks call it together.

    Args:
        cfg: Names a prepared dataset (`data.root`), which must have the model's encodings, or raw files, all of whose
            rows are prepared with those encodings, once.
        loaded: The model.
        checkpoint: Its file, for errors.

    Raises:
        SignalError: The prepared dataset has other encodings.
        DataError: The raw files do not hold what the model reads.
        ConfigError: The tasks are others, or the config names no data.
    """
    dataset = _opened(cfg, loaded, checkpoint)
    if dataset.schema.task_names != loaded.schema.task_names:
        raise ConfigError(
            "The model predicts other tasks than the data has.",
            where=f"{checkpoint}, data",
            expected=", ".join(loaded.schema.task_names),
            found=", ".join(dataset.schema.task_names),
            remedy="Declare the same tasks, in the same order, in the schema of the data.",
        )
    return dataset


def _opened(cfg: DictConfig, loaded: LoadedModel, checkpoint: Path) -> Dataset:
    if cfg.data.get("root") is not None:
        dataset = load_dataset(Path(cfg.data.root))
        check_encodings(loaded, checkpoint, dataset)
        return dataset
    if cfg.data.get("adapter") is None:
        raise ConfigError("The config names no data.", where="data", expected="data.root or data.adapter")
    if rank() == 0:
        source = _OfModel(build(cfg.data.adapter, "data.adapter"), loaded.schema.fields, checkpoint)
        known = KnownEncodings(loaded.fitted(checkpoint), str(checkpoint))
        dataset = build_dataset(source, Path(cfg.paths.data), known=known)
        text_of_rank_zero(str(dataset.root))
        return dataset
    return load_dataset(Path(text_of_rank_zero("")))
