from __future__ import annotations

from omegaconf import OmegaConf

from distill.jobs.identity import config_hash


def _hash(k: int, fold: int, seed: int = 0) -> str:
    split = {"k": k, "fold": fold, "seed": "${seed}"}
    return config_hash(OmegaConf.create({"seed": seed, "data": {"adapter": {"split": split}}}))


def test_folds_and_seeds_of_one_cut_are_one_configuration() -> None:
    assert len({_hash(5, fold, seed) for fold in (0, 4) for seed in (0, 1)}) == 1
    assert _hash(4, 0) != _hash(5, 0)
