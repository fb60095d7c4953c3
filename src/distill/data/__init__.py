"""From raw logs on disk to batches: prepare, stream, collate, datamodule and dataset adapters."""
