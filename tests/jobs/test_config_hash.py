from __future__ import annotations

from omegaconf import OmegaConf

from distill.jobs.identity import config_hash


def _hash(k: int, fold: int, seed: int = 0) -> str:
    split = {"k": k, "fold": fold, "seed": "${seed}"}
    return config_hash(OmegaConf.create({"seed": seed, "data": {"adapter": {"split": split}}}))


def test_folds_and_seeds_of_one_cut_are_one_configuration() -> None:
    assert len({_hash(5, fold, seed) for fold in (0, 4) for seed in (0, 1)}) == 1
    assert _hash(4, 0) != _hash(5, 0)


def test_a_chosen_metric_is_the_former_default() -> None:
    """Seeds of a version before are compared together with those of today."""

    def of(monitor: str, mode: str) -> str:
        callbacks = {"monitor": monitor, "mode": mode}
        return config_hash(OmegaConf.create({"seed": 0, "data": {"main_task": "buy"}, "callbacks": callbacks}))

    assert of("auto", "auto") == of("val/buy/auc", "max")
    assert of("auto", "auto") not in (of("val/click/auc", "max"), of("val/buy/auc", "min"))
