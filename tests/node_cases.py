"""Which of ONNX's own node tests are imported, and why others are not."""

from __future__ import annotations

from lutra.ir.traits import TRAITS

CLIENT = (
    *("Attention", "Compress", "ConstantOfShape", "Dropout", "EyeLike"),
    *("Range", "Shape", "Size", "Upsample"),
)
"""Operators without a trait that are held to the same."""

LISTED = frozenset({*TRAITS, *CLIENT})
"""Operators of which every case is imported and gives what ONNX says, except `EXCEPTIONS`."""

CASES = 1272
"""Their cases, expanded ones included, in onnx 1.23."""

EXCEPTIONS = {
    **dict.fromkeys(
        (
            *("test_training_dropout", "test_training_dropout_mask"),
            *("test_training_dropout_default", "test_training_dropout_default_mask"),
        ),
        "Dropout in training mode drops elements at random",
    ),
    **dict.fromkeys(("test_equal_string", "test_equal_string_broadcast"), "strings"),
    **dict.fromkeys(("test_identity_opt", "test_identity_sequence"), "sequences and optionals"),
}
"""Those of them that are refused, and why."""

REFUSED = {
    **dict.fromkeys(("BitCast", "CumProd", "TensorScatter"), "younger than the opset"),
    "LinearAttention": "its body is a loop",
    **dict.fromkeys(("NonMaxSuppression", "NonZero", "Unique"), "depends on data"),
    **dict.fromkeys(("Bernoulli", "RandomUniformLike"), "draws random numbers"),
    **dict.fromkeys(("ImageDecoder",), "onnxruntime has no kernel"),
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), "runs a subgraph"),
    **dict.fromkeys(
        ("ConcatFromSequence", "SequenceInsert", "SplitToSequence"),
        "sequences and optionals",
    ),
    **dict.fromkeys(
        ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit"), "strings"
    ),
}
"""Operators of which no case is imported, and why."""

DEVIATE: tuple[str, ...] = ("test_dft", "test_stft")
"""Cases of which onnxruntime's results are less exact than the others'."""
