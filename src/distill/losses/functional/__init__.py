"""Losses as pure functions of tensors: one value per row or per request, not reduced."""

from distill.losses.functional.bce import bce_with_logits
from distill.losses.functional.bernoulli_kl import bernoulli_kl
from distill.losses.functional.mse import logit_mse, prob_mse
from distill.losses.functional.softmax_kl import softmax_kl

__all__ = ["bce_with_logits", "bernoulli_kl", "logit_mse", "prob_mse", "softmax_kl"]
