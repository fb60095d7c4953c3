"""Which rows a training step learns from, and with which labels, beside those that the log observed."""

from distill.sampling.base import Sampler, Sampling
from distill.sampling.in_batch_negatives import InBatchNegatives
from distill.sampling.pseudo_labels import PseudoLabels, Sure
from distill.sampling.random_negatives import RandomNegatives
from distill.sampling.stage_negatives import StageNegatives
from distill.sampling.weighted_pseudo_labels import WeightedPseudoLabels

__all__ = [
    "InBatchNegatives",
    "PseudoLabels",
    "RandomNegatives",
    "Sampler",
    "Sampling",
    "StageNegatives",
    "Sure",
    "WeightedPseudoLabels",
]
