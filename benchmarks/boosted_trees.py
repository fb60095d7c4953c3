"""LightGBM on the encoded rows of a dataset, which `pip install lightgbm` brings: how well trees tell the main task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig

from benchmarks.epochs import Case
from benchmarks.rows import BenchmarkRow
from distill.batch import Batch
from distill.codes import Stage
from distill.data.datamodule import Loading, RankingDataModule
from distill.data.format import SPLITS, Split
from distill.errors import ConfigError
from distill.jobs.node import plain
from distill.jobs.targets import Part
from distill.metrics.functional.auc import auc
from distill.metrics.functional.logloss import logloss

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BoostedTreesBenchmark(Part):
    """Trains LightGBM on what a model would read of labelled, exposed candidates: ids as categories, numbers as they
    are encoded; sequences, text and vectors are left out.

    Attributes:
        data: Overrides of the config that name the data, as for `train.py`.
        seeds: Of the config, and of LightGBM.
        rounds: Trees at most; training ends where the validation split gets no better for a tenth of them.
        settings: Named arguments of LightGBM; the best by log loss of the validation split of the first seed is taken,
            beside the first.
    """

    data: Sequence[str]
    seeds: Sequence[int]
    rounds: int
    settings: Mapping[str, Mapping[str, Any]]

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures on the test split.

        Raises:
            ConfigError: LightGBM is not installed.
        """
        try:
            import lightgbm
        except ImportError as error:
            raise ConfigError(
                "LightGBM is not installed.", where="benchmark=boosted_trees", remedy="pip install lightgbm"
            ) from error
        first = _Rows(self.data, self.seeds[0], paths)
        tried = {name: first.fitted(lightgbm, own, self.rounds) for name, own in self.settings.items()}
        best = min(tried, key=lambda name: tried[name].val_logloss)
        untouched = next(iter(self.settings))
        chosen: dict[str, list[_Fitted]] = {name: [tried[name]] for name in dict.fromkeys((untouched, best))}
        for seed in self.seeds[1:]:
            rows = _Rows(self.data, seed, paths)
            for name, found in chosen.items():
                found.append(rows.fitted(lightgbm, self.settings[name], self.rounds))
        return [row for name, found in chosen.items() for row in _table(name, name == best, found)]


def _table(name: str, is_best: bool, found: Sequence[_Fitted]) -> list[BenchmarkRow]:
    title = f"boosted_trees/{name}{' (best on validation)' if is_best else ''}"
    rows = []
    for metric, values in (("AUC", [one.auc for one in found]), ("logloss", [one.logloss for one in found])):
        rows.append(BenchmarkRow(f"{title}/{metric}", mean(values), ""))
        if len(values) > 1:
            rows.append(BenchmarkRow(f"{title}/{metric}, deviation", stdev(values), ""))
    return [*rows, BenchmarkRow(f"{title}/trees", mean(one.trees for one in found), "")]


@dataclass(frozen=True)
class _Fitted:
    """Figures of the test split, and log loss of the validation split."""

    auc: float
    logloss: float
    val_logloss: float
    trees: int


class _Rows:
    """Labelled, exposed rows of all splits: features `[N, F]`, of which the first are ids, and labels `[N]`."""

    def __init__(self, data: Sequence[str], seed: int, paths: DictConfig) -> None:
        case = Case([*data, f"seed={seed}"], paths)
        module = RankingDataModule(case.dataset.root, Loading(**plain(case.cfg.data.loader)), view="serving")
        self._seed = seed
        self._ids = 0
        self._splits = {name: self._read(module, name) for name in SPLITS}

    def fitted(self, lightgbm: Any, settings: Mapping[str, Any], rounds: int) -> _Fitted:
        """Trains with some settings."""
        model = lightgbm.LGBMClassifier(
            n_estimators=rounds,
            n_jobs=torch.get_num_threads(),
            random_state=self._seed,
            deterministic=True,
            verbose=-1,
            **settings,
        )
        model.fit(
            *self._splits["train"],
            eval_set=[self._splits["val"]],
            eval_metric="binary_logloss",
            categorical_feature=list(range(self._ids)),
            callbacks=[lightgbm.early_stopping(max(1, rounds // 10), verbose=False)],
        )
        val, test = (self._logits(model, name) for name in ("val", "test"))
        return _Fitted(float(auc(*test)), float(logloss(*test)), float(logloss(*val)), int(model.best_iteration_))

    def _logits(self, model: Any, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
        features, labels = self._splits[split]
        return torch.from_numpy(model.predict(features, raw_score=True)), torch.from_numpy(labels)

    def _read(self, module: RankingDataModule, split: Split) -> tuple[Float32, Float32]:
        parts = [self._of(batch) for batch in module.loader(split, shuffle=False)]
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])

    def _of(self, batch: Batch) -> tuple[Float32, Float32]:
        request = batch.request.select(batch.request_index)
        blocks = (request, batch.candidate, batch.cross)
        ids = torch.cat([block.ids for block in blocks], dim=1)
        self._ids = ids.shape[1]
        kept = batch.observed[:, 0] & (batch.stage == Stage.EXPOSED)
        features = torch.cat([ids.float(), *(block.numbers for block in blocks)], dim=1)
        return features[kept].numpy(), batch.labels[kept, 0].numpy()
