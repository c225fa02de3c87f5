"""What a verification that goes on must have in common with the one that was ended."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from tiny import tiny_counts, tiny_model

from lnp_edge.stages.proof import Inputs

MODEL = tiny_model()
INPUTS = Inputs(tiny_counts(MODEL, 40).reshape(2, 20, 3), 5000, 2)
FIRMWARE = {"sources": "0123", "image": "4567", "toolchain": "gcc", "compiler": "gcc 12.2"}


def told(board="cortex-m4", build=7):
    return SimpleNamespace(board=board, build=build)


GREETING = told()


def key(inputs=INPUTS, model=MODEL, greeting=GREETING, **firmware):
    return inputs.key(model, greeting, FIRMWARE | firmware)


def test_another_line_and_another_folder_of_the_build_are_no_other_verification():
    assert key(replace(INPUTS, faults=1e-3)) == key() == key(image="89ab")


@pytest.mark.parametrize("other", [
    key(replace(INPUTS, steps=5001)), key(replace(INPUTS, seed=3)), key(replace(INPUTS, exhaustive=True)),
    key(replace(INPUTS, windows=None)), key(replace(INPUTS, windows=INPUTS.windows + 1)), key(model=tiny_model(2)),
    key(greeting=told(board="host")), key(greeting=told(build=8)), key(sources="4567"),
    key(compiler="gcc 13"), INPUTS.key(MODEL, GREETING, {}),
])  # fmt: skip
def test_whatever_else_is_another_makes_another_one(other):
    assert other != key()
