"""Files of named pipelines.

[pipelines]
tidy = "clean,decompose,clean"
narrow = "tidy,default{weights=4,rounding=none}"
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from lutra.ir.errors import InputError, PipelineError
from lutra.passes import registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read(path: str | Path) -> dict[str, str]:
    """The texts of a file's pipelines by name.

    Errors: I004 where the file cannot be read, P003 where it is no such file, P006 where a name is
    that of a pass, or of a plugin's pipeline.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("I004", f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PipelineError("P003", f"{path} is no TOML file: {error}") from error
    texts = content.get("pipelines")
    if not isinstance(texts, dict):
        raise PipelineError("P003", f"{path} has no table [pipelines]")
    for name, text in texts.items():
        if not isinstance(text, str):
            raise PipelineError("P003", f"{path}: pipeline {name!r} is no text: {text!r}")
        if not re.fullmatch(r"[A-Za-z_][\w\-]*", name):
            raise PipelineError("P003", f"{path}: {name!r} is no name for a pipeline")
        owners = registry.PIPELINES.owners(name)
        if owners:
            raise PipelineError("P006", f"{path} and {owners[0]} both provide {name!r}")
    return texts
