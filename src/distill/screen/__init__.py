"""What a person sees while something runs: lines (`lines`), and meters below them (`meters`)."""
