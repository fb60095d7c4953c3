"""Optuna for Hydra; Hydra accepts sweepers of the namespace package `hydra_plugins` only."""
