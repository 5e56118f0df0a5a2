"""Client and server in folders and processes of their own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lutra
from lutra.archive import Archive
from lutra.deployment import FHEModelClient, FHEModelDev, FHEModelServer
from lutra.ir.errors import ArtifactError, InputError
from lutra.onnx import compile_onnx_model
from lutra.quantization import NoEffectWarning, NotCompiledError, QuantizedModule
from small_models import FEW_BITS, mlp, points

N_BITS = {"op_inputs": 2, "op_weights": 2, "model_inputs": 2}

SERVER = """
import sys
from pathlib import Path
from lutra.deployment import FHEModelServer
folder = Path(sys.argv[1])
server = FHEModelServer(folder / "server")
result = server.run((folder / "x").read_bytes(), (folder / "keys").read_bytes())
(folder / "y").write_bytes(result)
"""


@pytest.fixture(scope="module")
def module() -> QuantizedModule:
    return compile_onnx_model(mlp(), points(), n_bits=N_BITS)


@pytest.fixture(scope="module")
def folder(module: QuantizedModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deployed")
    FHEModelDev(path / "both", module).save()
    for part in ("client", "server"):
        (path / part).mkdir()
        name = f"{part}.zip"
        (path / part / name).write_bytes((path / "both" / name).read_bytes())
    return path


@pytest.mark.encrypted
def test_server_in_a_process_of_its_own(module: QuantizedModule, folder: Path) -> None:
    client = FHEModelClient(folder / "client", key_dir=folder / "secret")
    x = points(1, seed=3)
    (folder / "keys").write_bytes(client.get_serialized_evaluation_keys())
    (folder / "x").write_bytes(client.quantize_encrypt_serialize(x))
    subprocess.run([sys.executable, "-c", SERVER, str(folder)], check=True, cwd="/")
    result = (folder / "y").read_bytes()
    np.testing.assert_array_equal(client.deserialize_decrypt_dequantize(result), module.forward(x))
    q = module.quantized_forward(module.quantize_input(x))
    np.testing.assert_array_equal(client.deserialize_decrypt(result), q)
    again = FHEModelClient(folder / "client", key_dir=folder / "secret")
    again.generate_private_and_evaluation_keys()
    np.testing.assert_array_equal(again.deserialize_decrypt(result), q)


def test_the_client_gets_no_weights(folder: Path) -> None:
    archive = Archive((folder / "client" / "client.zip").read_bytes())
    text = archive.read("module.txt").decode()
    assert "quantize" in text
    assert "matmul" not in text
    assert "lookup" not in text
    assert lutra.load(folder / "server" / "server.zip").pbs_count == 3


def test_samples_that_do_not_fit(folder: Path) -> None:
    client = FHEModelClient(folder / "client")
    for wrong, code in [((points(2),), "I001"), ((), "I004"), ((points(1)[:, :1],), "I001")]:
        with pytest.raises(InputError, match=code):
            client.quantize_encrypt_serialize(*wrong)


def test_saving(module: QuantizedModule, tmp_path: Path) -> None:
    for wrong in (None, object()):
        with pytest.raises(InputError, match="no quantized module"):
            FHEModelDev(tmp_path, wrong).save()
    with pytest.raises(InputError, match="there is: 'inference'"):
        FHEModelDev(tmp_path, module).save(mode="training")
    with pytest.raises(NotCompiledError):
        FHEModelDev(tmp_path, QuantizedModule(model=module.model)).save()
    with pytest.raises(InputError, match="does not encrypt"):
        FHEModelDev(tmp_path, lutra.compile(mlp(), points(), FEW_BITS, backend="numpy")).save()
    with pytest.warns(NoEffectWarning, match="compiles"):
        FHEModelDev(tmp_path, lutra.compile(mlp(), points(), FEW_BITS)).save(via_mlir=False)
    with pytest.raises(InputError, match="not empty"):
        FHEModelDev(tmp_path, module).save()


def test_missing_files(tmp_path: Path) -> None:
    for side in (FHEModelClient, FHEModelServer):
        with pytest.raises(ArtifactError, match="A001"):
            side(tmp_path)


def test_damaged_clients(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "client.zip").write_bytes((folder / "client" / "client.zip").read_bytes()[:-30])
    with pytest.raises(ArtifactError, match="A001"):
        FHEModelClient(tmp_path)
