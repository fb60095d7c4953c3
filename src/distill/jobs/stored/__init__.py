"""What jobs leave below `paths.data` and `paths.cache`: listed and deleted, without torch."""
