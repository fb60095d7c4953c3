"""Training steps that are recorded once for each shape of a batch, and replayed: on a GPU, as CUDA graphs."""
