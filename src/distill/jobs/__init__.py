"""What the command-line tools do: `run(cfg)` returns a typed result."""
