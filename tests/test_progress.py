"""Bars of long steps: on terminals alone."""

import io

from rich.console import Console

from lutra.bars import bars


def drawn(terminal: bool) -> str | None:
    """What is written of two steps; None where nobody would see it."""
    stream = io.StringIO()
    with bars(Console(file=stream, force_terminal=terminal, width=100)) as progress:
        if progress is None:
            return None
        progress("key generation, about 4 s", 0, 1)
        progress("key generation, about 4 s", 1, 1)
        for done in range(4):
            progress("encrypted samples", done, 3)
    return stream.getvalue()


def test_terminals_see_steps_and_what_is_left() -> None:
    text = drawn(True)
    assert text is not None
    assert "key generation, about 4 s" in text
    assert "1/1" in text
    assert "encrypted samples" in text
    assert "3/3" in text
    assert "left" in text


def test_files_see_nothing() -> None:
    assert drawn(False) is None
