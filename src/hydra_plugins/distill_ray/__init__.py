"""Ray for Hydra; Hydra accepts launchers of the namespace package `hydra_plugins` only."""
