"""What a run leaves for its reader: summary, tables, comparison."""
