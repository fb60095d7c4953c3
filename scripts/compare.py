"""One table and one picture of any runs: python scripts/compare.py FOLDER… [--sort METRIC] [--out FOLDER]."""

from distill.jobs import app, compare

if __name__ == "__main__":
    app.guarded(compare.run, compare.arguments())
