"""The one LightningModule, optimisers, schedules, callbacks and distributed launch."""
