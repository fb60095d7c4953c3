"""Interaction bodies: from the fields of a row to the vector that the task heads read. Rankers and towers share them.

A body is built from a `FieldLayout` and its own sizes; in a config it is a node with `_partial_: true` (group `body`).
"""
