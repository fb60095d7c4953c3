from tests.places.store import store

__all__ = ["store"]
