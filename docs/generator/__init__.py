"""What `docs/generate.py` writes, by subject."""
