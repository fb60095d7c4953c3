"""`report.html`: one page that holds all that a run or a comparison measured, and needs nothing else to be read."""
