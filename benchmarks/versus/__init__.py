"""Lutra against Concrete ML on the same models, data and machine; see docs/versus.md."""
