"""Fields, tasks, score and keys of a dataset; YAML in and out; checks."""

from distill.schema.encoding import MISSING_ID, MISSING_NUMBER, NUM_RESERVED, OOV_ID
from distill.schema.events import Events
from distill.schema.fields import Cold, FieldSpec, Kind, source_columns
from distill.schema.io import dump_schema, load_schema, parse_schema, save_schema
from distill.schema.keys import Keys, RawColumns, StageKey
from distill.schema.made import AnyMade, Combine, Difference, Epoch, Match, Missing, Overlap, Ratio, Source
from distill.schema.many import Columns
from distill.schema.schema import (
    HiddenColumn,
    RowWeight,
    Schema,
    Score,
    Task,
    TeacherColumns,
    log_rates,
)
from distill.schema.side import Side
from distill.schema.tokens import Tokens

__all__ = [
    "MISSING_ID",
    "MISSING_NUMBER",
    "NUM_RESERVED",
    "OOV_ID",
    "AnyMade",
    "Cold",
    "Columns",
    "Combine",
    "Difference",
    "Epoch",
    "Events",
    "FieldSpec",
    "HiddenColumn",
    "Keys",
    "Kind",
    "Match",
    "Missing",
    "Overlap",
    "Ratio",
    "RawColumns",
    "RowWeight",
    "Schema",
    "Score",
    "Side",
    "Source",
    "StageKey",
    "Task",
    "TeacherColumns",
    "Tokens",
    "dump_schema",
    "load_schema",
    "log_rates",
    "parse_schema",
    "save_schema",
    "source_columns",
]
