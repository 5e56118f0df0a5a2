"""Concrete ML's side: runs in an environment of its own, imports nothing of Lutra.

Reads one JSON request a line from standard input, writes one JSON answer a line. Requests are the
fields of `benchmarks.versus.peer.Request`, answers what the tasks below return; an error of
Concrete ML becomes `{"error": ...}`.
"""

import json
import os
import statistics
import sys
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import onnx
from concrete.fhe import Exactness
from concrete.ml.common.utils import manage_parameters_for_pbs_errors
from concrete.ml.torch.compile import build_quantized_module, compile_onnx_model
from onnx import version_converter

OPSET = 14
"""The only opset that Concrete ML 1.9 takes."""

PATIENCE = 10.0
"""Seconds after which compiling is not repeated."""


def classes(y):
    """The class of each sample: the largest logit, or a probability above one half."""
    return y.argmax(axis=1) if y.shape[1] > 1 else (y[:, 0] > 0.5).astype(int)


def best(run, seconds, repeats):
    """Processor seconds of the shortest run: at most `repeats`, and no more after `seconds`."""
    times = []
    while len(times) < repeats and sum(times) < seconds:
        start = process_time()
        run()
        times.append(process_time() - start)
    return min(times)


@lru_cache(maxsize=1)
def model_of(path):
    model = onnx.load(path)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    return model if versions.get("") == OPSET else version_converter.convert_version(model, OPSET)


@lru_cache(maxsize=1)
def data_of(path):
    with np.load(path) as data:
        return {name: data[name] for name in data.files}


def settings(request):
    rounding = None
    if request["rounding"]:
        method = Exactness.EXACT if request["exact"] else Exactness.APPROXIMATE
        rounding = {"n_bits": request["rounding"], "method": method}
    brings = request["n_bits"] is None
    return {
        "import_qat": brings,
        "n_bits": 8 if brings else request["n_bits"],
        "rounding_threshold_bits": rounding,
    }


def calibration(request):
    return data_of(request["data"])["x_train"][: request["calibration"]]


last = {}
"""The settings and the quantized module of the last request: p_error does not change it."""


def quantized(request):
    """The quantized module, its accuracy in the clear, and the seconds it took."""
    key = [request[name] for name in ("model", "data", "n_bits", "rounding", "exact")]
    if last.get("key") != key:
        start = perf_counter()
        model, x = model_of(request["model"]), calibration(request)
        module = build_quantized_module(model, x, **settings(request))
        seconds = perf_counter() - start
        data = data_of(request["data"])
        y = module.forward(data["x_test"], fhe="disable")
        last.update(
            key=key,
            module=module,
            seconds=seconds,
            accuracy=float(np.mean(classes(y) == data["y_test"])),
        )
    return last


def measure(request):
    """Accuracy, and what compiling says unless the accuracy is below `floor`."""
    found = quantized(request)
    if found["accuracy"] < request["floor"]:
        return {"accuracy": found["accuracy"]}
    single, total = manage_parameters_for_pbs_errors(request["p_error"], None)
    start = perf_counter()
    try:
        circuit = found["module"].compile(
            calibration(request), p_error=single, global_p_error=total
        )
    except Exception as error:
        return {"accuracy": found["accuracy"], "error": message(error)}
    return {
        "accuracy": found["accuracy"],
        "compile": found["seconds"] + perf_counter() - start,
        "price": circuit.complexity,
        "pbs": circuit.programmable_bootstrap_count,
        "bits": circuit.graph.maximum_integer_bit_width(),
        "p_error": single,
    }


def compiled(request):
    model, x = model_of(request["model"]), calibration(request)
    start = process_time()
    module = compile_onnx_model(model, x, p_error=request["p_error"], **settings(request))
    return module, process_time() - start


def speed(request):
    """Processor seconds of compiling, of the test set in the clear, of a simulated sample."""
    seconds = []
    while len(seconds) < request["samples"] and sum(seconds) < PATIENCE:
        module, taken = compiled(request)
        seconds.append(taken)
    x = data_of(request["data"])["x_test"]
    few = x[:20]
    module.forward(few[:1], fhe="simulate")  # the first one compiles the simulation
    return {
        "compile": min(seconds),
        "clear": best(lambda: module.forward(x, fhe="disable"), 2.0, 500),
        "simulate": best(lambda: module.forward(few, fhe="simulate"), 5.0, 5) / len(few),
    }


def encrypt(request):
    """Seconds of key generation and of a sample: quantize, encrypt, run, decrypt, dequantize."""
    module, _ = compiled(request)
    start = perf_counter()
    module.fhe_circuit.keygen(force=True)
    keygen = perf_counter() - start
    data = data_of(request["data"])
    seconds, right = [], []
    for index in range(request["samples"]):
        x = data["x_test"][index : index + 1]
        start = perf_counter()
        y = module.forward(x, fhe="execute")
        seconds.append(perf_counter() - start)
        right.append(int(classes(y)[0] == data["y_test"][index]))
    return {"keygen": keygen, "sample": statistics.median(seconds), "right": sum(right)}


def deploy(request):
    """Sizes in bytes of what is deployed and travels, processor seconds of saving and loading."""
    # needs what `environment.deployment` installs
    from concrete.ml.deployment import FHEModelClient, FHEModelDev, FHEModelServer

    module, _ = compiled(request)
    x = data_of(request["data"])["x_test"][:1]

    def save():
        with tempfile.TemporaryDirectory() as folder:
            FHEModelDev(folder, module).save()

    with tempfile.TemporaryDirectory() as folder:
        FHEModelDev(folder, module).save()
        files = {side: Path(folder, f"{side}.zip") for side in ("server", "client")}
        sizes = {side: file.stat().st_size for side, file in files.items()}
        client = FHEModelClient(folder)
        client.generate_private_and_evaluation_keys()
        return {
            **sizes,
            "keys": len(client.get_serialized_evaluation_keys()),
            "inputs": len(client.quantize_encrypt_serialize(x)),
            "save": best(save, 5.0, 5),
            "load_server": best(lambda: FHEModelServer(folder), 5.0, 5),
            "load_client": best(lambda: FHEModelClient(folder), 5.0, 5),
        }


TASKS = {"measure": measure, "speed": speed, "encrypt": encrypt, "deploy": deploy}


def message(error):
    return f"{type(error).__name__}: {error}"[:300]


def main():
    warnings.filterwarnings("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints goes to standard error
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = TASKS[request["task"]](request)
        except Exception as error:
            answer = {"error": message(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
