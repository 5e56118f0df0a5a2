"""Errors that tell what is wrong, where in the model, by how much, and the way out.

Every code is declared once, in `CODES`; documentation and tests derive from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

CODES = {
    "A001": "the artifact is not readable: no zip archive, or no JSON",
    "A002": "the artifact's contents do not match its manifest",
    "A003": "the artifact was written by a newer version of Lutra",
    "A004": "the artifact needs another version of the backend",
    "B001": "no backend of that name",
    "B002": "the backend cannot emit this operation",
    "B003": "a table look-up's input is wider than the backend allows",
    "B004": "the backend found no cryptographic parameters for the circuit",
    "B005": "a value is wider than the backend allows",
    "B006": "workers failed while they computed on encrypted samples",
    "C001": "the calibration set is empty",
    "C002": "the calibration data hold NaN or infinite values",
    "C003": "a pass needs calibration data and none were given",
    "F001": "the file is not a readable ONNX model",
    "F002": "the opset is outside the supported range",
    "F003": "a dimension of the model is not known",
    "F004": "the model holds nodes that Lutra does not support",
    "F005": "the model's external data cannot be read",
    "F006": "onnxruntime refuses the model",
    "I001": "an input has the wrong shape",
    "I002": "an input has the wrong data type",
    "I003": "an input holds NaN or infinite values",
    "I004": "an input is missing, or is not the model's",
    "I005": "an option is not one of the allowed values",
    "I006": "p_error is above what the options allow",
    "I007": "no pipeline keeps the accuracy",
    "I008": "a package that this needs is not installed",
    "K001": "the key file cannot be read",
    "K002": "the passphrase is wrong, or the key file was altered",
    "K003": "the keys are of another model",
    "P001": "no pass of that name",
    "P002": "a pass has no such option, or its value has the wrong type",
    "P003": "the pipeline's text cannot be parsed",
    "P004": "a pass left the graph invalid",
    "P005": "a float region cannot become one table look-up",
    "P006": "two packages provide a pass, op, backend or pipeline of the same name",
    "P007": "a plugin cannot be loaded",
    "P008": "an encrypted float value is left that nothing quantizes",
    "P009": "a pass comes before what it requires",
    "P010": "a pass broke its contract",
    "S001": "a message between client and server cannot be read",
    "S002": "a message is for another model, or under other keys",
    "S003": "the evaluation ended its process",
    "S004": "the server refuses",
    "S005": "the server does not answer",
    "T001": "the IR text cannot be parsed",
    "V001": "an operation violates its own specification",
    "V002": "a value is used where it is not defined",
    "V003": "a value that is still used was erased",
    "V004": "a value's range does not fit 62 bits",
    "X001": "an experiment's file is not valid",
    "X002": "no metric of that name, or no such option",
    "X003": "a metric needs what the trial has not",
    "X004": "a trial ended its process",
    "X005": "a trial raised what is no error of Lutra's",
    "X006": "the results file cannot be read or written",
}


WAYS_OUT = {
    "A001": "copy the file again, or save the model once more",
    "A002": "copy the file again, or save the model once more",
    "B003": "let look-ups read fewer bits: `rounding=6` of `default` or `qat`, `round{bits=6}` "
    "before `fuse`, or fewer bits of inputs, activations and weights",
    "F001": "check the file with `onnx.checker`, or export the model once more",
    "F003": "give the shapes of the inputs: shapes={name: [...]}, or --shape name=...",
    "F006": "run the model in onnxruntime alone: it has to run there first",
    "I003": "drop these samples or fill the gaps",
    "K001": "give a file that `Client.save_keys` wrote",
    "K002": "type the passphrase again; there is no way to keys whose passphrase is lost",
    "K003": "load the keys that were made for this model, or make new ones",
    "P004": "a mistake in the pass: see it again with `lutra opt --reproducer`, and report it",
    "P007": "install the plugin again, or uninstall it: `lutra plugins` lists them all",
    "S003": "encrypt again, and upload the keys again: damaged ones are the usual reason",
    "T001": "look at the line that is shown: the text is what `lutra opt` prints",
    "V001": "look at the operation's page in the IR's documentation",
    "V002": "put an operation behind those whose results it reads",
    "V003": "replace the value's uses before, as `Rewriter.replace` does",
    "X004": "run the trial alone: memory is the usual reason",
    "X005": "read the message: the metric or pass that raised it is at fault",
}
"""Ways out of errors that name none themselves: the message says what differs from case to case."""


class Error(Exception):
    """A problem that the user can act on.

    `code` is stable and listed in `CODES`; `nodes` are the model's own node names; `lines` the IR
    text at fault; `help` the way out.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        nodes: Sequence[str] = (),
        lines: Sequence[str] = (),
        help: str = "",
    ) -> None:
        if code not in CODES:
            raise ValueError(f"undeclared error code {code!r}")
        self.code = code
        self.message = message
        self.nodes = tuple(nodes)
        self.lines = tuple(lines)
        self.help = help
        super().__init__(self.render())

    def __reduce__(self) -> tuple[Any, ...]:
        """For errors that workers raise: an error's own arguments, not those of `Exception`."""
        make = partial(type(self), nodes=self.nodes, lines=self.lines, help=self.help)
        return make, (self.code, self.message)

    def render(self) -> str:
        """The error as it is shown to the user."""
        text = [f"error[{self.code}]: {self.message}"]
        if self.nodes:
            text.append(f"  --> {', '.join(self.nodes)}")
        text += [f"   | {line}" for line in self.lines]
        if self.help:
            text.append(f"help: {self.help}")
        return "\n".join(text)


class ModelError(Error):
    """The model cannot be read or is not supported (codes F...)."""


class InputError(Error):
    """Data or options given by the caller do not fit (codes C... and I...)."""


class PipelineError(Error):
    """A pass or a pipeline is at fault (codes P...)."""


class BackendError(Error):
    """The backend cannot take the circuit (codes B...)."""


class ArtifactError(Error):
    """A saved artifact cannot be loaded (codes A...)."""


class KeysError(Error):
    """Keys cannot be used (codes K...)."""


class ServingError(Error):
    """Client and server do not come together (codes S...)."""


class ExperimentError(Error):
    """An experiment or one of its trials is at fault (codes X...)."""


class TextError(Error):
    """IR text cannot be read (code T001)."""


class VerifyError(Error):
    """A graph is not valid IR (codes V...)."""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, else the list of what there is."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known))}"
