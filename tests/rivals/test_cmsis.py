"""The CNNs through CMSIS-NN. What every rival has to do is tested in test_rivals.py: slow, and where bakenn is."""

import numpy as np
import pytest

from lnp_edge.base.errors import LnpError
from lnp_edge.cli import main
from lnp_edge.firmware_gen import cmsis_nn
from lnp_edge.rivals import _cmsis


def test_without_the_wheel_two_lines_say_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setattr(_cmsis, "find_spec", lambda name: None)
    assert main(["baseline", "spar", "--rivals", "cmsis_1k"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and f"it needs bakenn: pip install --no-deps bakenn=={cmsis_nn.RELEASE}" in said[0]


def test_another_release_is_refused(monkeypatch):
    monkeypatch.setattr(cmsis_nn, "require", lambda name: None)
    monkeypatch.setattr(cmsis_nn, "version", lambda name: "0.9.1")
    with pytest.raises(LnpError, match=r"bakenn 0\.9\.1 is installed"):
        cmsis_nn.files()


def test_multiplier_and_shift_are_the_number_to_31_bits():
    real = np.array([0.75, 1.0, 3.1e-4, 2.7, 1 - 2.0**-33])
    fixed, shift = _cmsis.multiplier(real)
    assert np.allclose(fixed * 2.0**-31 * 2.0**shift, real, rtol=2**-31, atol=0) and (fixed >= 2**30).all()


def test_requantised_rounds_twice():
    half = np.array([2**30], np.int32)
    assert _cmsis.requantised(np.array([5, -5, 6, -6, 0]), half, np.array([0])).tolist() == [3, -2, 3, -3, 0]
    # 5 / 4 by way of 3 is 2, not 1; a half is rounded away from zero by the second step.
    assert _cmsis.requantised(np.array([5, -6, 6, -7, 3]), half, np.array([-1])).tolist() == [2, -2, 2, -2, 1]


def test_its_files_are_system_headers_without_hosted_ones():
    made = cmsis_nn.quiet({"a.h": "#include <math.h>\nint x;\n", "b.c": "int y;\n"})
    assert made["b.c"] == '#include "b_c.h"\n' and "math.h" not in made["a.h"]
    assert all(made[name].startswith("#pragma GCC system_header\n") for name in ("a.h", "b_c.h"))
