"""`python -m lutra` is the command `lutra`."""

from lutra.cli import app

app(prog_name="lutra")
