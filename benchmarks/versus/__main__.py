"""Lutra against Concrete ML 1.9.0: accuracy, prices and seconds of both in one run.

    python -m benchmarks.versus --quick
    python -m benchmarks.versus --models digits_cnn iris_fc --encrypt digits_cnn iris_fc

Concrete ML runs in a virtual environment of its own, which the first run creates (2 GB). What it
says of a configuration is kept there, so that an interrupted run goes on where it stopped; seconds
are always measured anew. docs/versus.md says how each figure is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.versus import environment
from benchmarks.versus.figures import Row, bars
from benchmarks.versus.peer import Peer
from benchmarks.versus.plot import draw
from benchmarks.versus.run import Plan, compare
from benchmarks.versus.show import WIDTH, data, markdown, tables
from benchmarks.versus.subjects import FOLDERS, subjects
from benchmarks.versus.summary import summary


def main() -> int:
    options = _options()
    found = {subject.name: subject for subject in subjects(options.folder or FOLDERS)}
    unknown = [name for name in [*options.models, *options.encrypt] if name not in found]
    if unknown:
        print(f"no model {unknown[0]!r}; there are: {', '.join(found)}", file=sys.stderr)
        return 2
    log, console = Console(stderr=True), Console(width=None if sys.stdout.isatty() else WIDTH)
    peer = Peer(options.work, options.timeout)
    plan = Plan(options.quick, options.encrypt, options.samples, options.work)
    rows: list[Row] = []
    try:
        for name in options.models or found:
            rows.append(compare(found[name], peer, plan, log.print))
            _write(rows, options)  # so that an interrupted run leaves what it has found
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        peer.close()
    for table in tables(rows):
        console.print(table)
    missed = [bar.name for bar in bars(rows) if bar.met is False]
    if options.bars and missed:
        print(f"missed: {'; '.join(missed)}", file=sys.stderr)
        return 1
    return 0


def _write(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """The files that are asked for."""
    if options.json:
        options.json.write_text(json.dumps(data(rows), indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(markdown(rows), encoding="utf-8")
    if options.summary:
        options.summary.write_text(summary(rows), encoding="utf-8")
    if options.plot:
        draw(rows, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--quick", action="store_true", help="only those settings of Concrete ML known to be best")
    add("--models", nargs="+", default=[], metavar="NAME", help="all unless given")
    add("--folder", nargs="+", type=Path, help="with NAME.onnx and NAME.npz; instead of our own")
    add("--encrypt", nargs="+", default=[], metavar="NAME", help="models to really run encrypted")
    add("--samples", type=int, default=3, help="encrypted samples on each side")
    add("--timeout", type=float, default=900.0, help="seconds for one answer of Concrete ML")
    add("--work", type=Path, default=environment.folder(), help="folder of Concrete ML's side")
    add("--bars", action="store_true", help="end with status 1 if a claim is missed")
    add("--json", type=Path, metavar="FILE")
    add("--markdown", type=Path, metavar="FILE")
    add("--summary", type=Path, metavar="FILE", help="the README's table, as Markdown")
    add("--plot", type=Path, metavar="FILE", help="price against accuracy, as .png or .svg")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
