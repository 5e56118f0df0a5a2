"""Programs that encrypt end with the exit code that they choose, and get their signals."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
import numpy as np
from lutra.backends import concrete
from lutra.ir.parser import parse_graph

circuit = parse_graph('''
    %x = input : u2[1] in [0, 3]
    %0 = lookup %x, base=0, table=[1, 2, 3, 0]
    return %0
''')
assert concrete.emit(circuit).run(np.array([[1], [3]]))[0].tolist() == [[2], [0]]
reader, writer = os.pipe()
os.close(reader)
try:
    os.write(writer, b"to nobody")
except BrokenPipeError:
    sys.exit(3)
"""


@pytest.mark.encrypted
def test_the_exit_code_is_the_programs_own() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=False)
    assert done.returncode == 3, done.stderr
