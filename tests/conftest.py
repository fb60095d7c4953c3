"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# The machine is shared: how long one example takes says nothing.
settings.register_profile("shared_machine", deadline=None)
settings.load_profile("shared_machine")
