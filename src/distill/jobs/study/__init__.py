"""A sweep whose jobs are the trials of an Optuna study (extra `sweeps`)."""
