"""Serves a bundle over HTTP: python scripts/serve.py bundle=DIR."""

from distill.service.program import main

if __name__ == "__main__":
    main()
