"""`python -m distill COMMAND …`, as `distill COMMAND …`."""

from distill.cli import main

if __name__ == "__main__":
    main()
