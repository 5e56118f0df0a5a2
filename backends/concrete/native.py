"""The native compiler and run time of concrete-python, driven directly."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from typing import Any

from lutra.backends.concrete.emission import Program
from lutra.backends.concrete.library import concrete_compiler
from lutra.backends.concrete.options import Options
from lutra.backends.concrete.strategies import strategies
from lutra.ir.errors import BackendError


class Compiled:
    """A compiled program: its parameters, the compiler's feedback and, if asked for, its code.

    library: also generate the code. Error B004 if there are no parameters for the program.
    """

    def __init__(self, text: str, options: Options, strategy: str, *, library: bool) -> None:
        compiler = concrete_compiler()

        folder = tempfile.mkdtemp(prefix="lutra-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        native = compiler.Compiler(
            folder,
            compiler.lookup_runtime_lib(),
            generate_shared_lib=library,
            generate_program_info=True,
            generate_compilation_feedback=True,
        )
        try:
            parallel = options.parallel and library  # slower to compile, of the same price
            self._library = native.compile(text, _native_options(options, strategy, parallel))
        except RuntimeError as error:
            raise _failure(str(error)) from error
        self.strategy = strategy
        self.info: Any = self._library.get_program_info()
        self.feedback: Any = self._library.get_program_compilation_feedback()

    @property
    def complexity(self) -> float:
        return float(self.feedback.complexity)

    def server_circuit(self, function: str) -> Any:
        """The code of a function, loaded."""
        compiler = concrete_compiler()

        return compiler.ServerProgram(self._library, False).get_server_circuit(function)


def cheapest(program: Program, options: Options, *, library: bool) -> Compiled:
    """Compile with the strategy that the options name, or with the best one."""
    widest = max((entry.bits for entry in program.bootstraps), default=0)
    names = strategies(program.ops, widest, options)
    if len(names) == 1:
        return Compiled(program.text, options, names[0], library=library)
    trials = [Compiled(program.text, options, name, library=False) for name in names]
    best = min(trials, key=lambda trial: trial.complexity)
    return Compiled(program.text, options, best.strategy, library=True) if library else best


def _native_options(options: Options, strategy: str, parallel: bool) -> Any:
    compiler = concrete_compiler()

    native = compiler.CompilationOptions(compiler.Backend.CPU)
    native.simulation(False)
    native.set_loop_parallelize(parallel)
    native.set_dataflow_parallelize(False)
    native.set_auto_parallelize(False)
    native.set_composable(False)
    native.set_compress_evaluation_keys(True)
    native.set_compress_input_ciphertexts(True)
    native.set_p_error(1.0 if options.p_error is None else options.p_error)
    native.set_global_p_error(1.0 if options.global_p_error is None else options.global_p_error)
    native.set_security_level(options.security_bits)
    # Fused look-ups would wrap differently from two in a row; passes compose tables themselves.
    native.set_enable_tlu_fusing(False)
    if strategy == "mono":
        native.set_optimizer_strategy(compiler.OptimizerStrategy.DAG_MONO)
    else:
        native.set_optimizer_strategy(compiler.OptimizerStrategy.DAG_MULTI)
        grouping = compiler.OptimizerMultiParameterStrategy
        native.set_optimizer_multi_parameter_strategy(getattr(grouping, strategy.upper()))
    return native


def _failure(message: str) -> BackendError:
    if "NoParametersFound" in message:
        return BackendError(
            "B004",
            "Concrete's optimizer finds no parameters for this circuit",
            help="fewer bits at look-ups (`round`), fewer bits of weights, or a larger p_error",
        )
    return BackendError("B002", f"Concrete's compiler refuses the circuit: {message.strip()}")
