"""What SEMANTICS.md shows as an example is what the code and the oracle give."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from naive import Naive
from tiny import tiny_model

import lnp_edge.spec
from lnp_edge.interchange import onnx_file
from lnp_edge.neurons import adlif
from lnp_edge.spec.model import CSR, Population, Projection, QuantizedModel

TEXT = (Path(lnp_edge.spec.__file__).parent / "SEMANTICS.md").read_text()
EXAMPLE = json.loads(re.search(r"```json\n(.*?)```", TEXT, re.S)[1])
METADATA = re.search(r'```\n(\{"channels.*?)\n```', TEXT, re.S)[1].replace("\n", " ")


def ints(table):
    return {name: np.array(values, np.int32) for name, values in table.items() if isinstance(values, list)}


def example():
    """The model of section 13 with the metadata of section 11."""
    found = json.loads(METADATA)
    populations = tuple(Population(p["name"], p["neuron"], p["n"], ints(p)) for p in EXAMPLE["populations"])
    projections = tuple(
        Projection(**{k: v for k, v in p.items() if k != "w"}, w=CSR.from_dense(np.array(p["w"])))
        for p in EXAMPLE["projections"]
    )
    kind = EXAMPLE["encoder"]["kind"]
    plain = {name: found[name] for name in ("dt", "window", "hop", "provenance")}
    names = {name: tuple(found[name]) for name in ("channels", "classes")}
    return QuantizedModel(kind, ints(EXAMPLE["encoder"]), populations, projections, **plain, **names).check()


def test_the_example_has_its_fingerprint_and_structure():
    assert f"{example().fingerprint:08x}" == EXAMPLE["fingerprint"]
    assert example().structure == EXAMPLE["structure"]


def test_the_example_runs_as_it_says():
    naive, digests = Naive(example()), []
    fired = dict.fromkeys(naive.z, 0)
    for counts in EXAMPLE["counts"]:
        naive.step(counts)
        digests.append(f"{naive.h:08x}")
        fired = {name: fired[name] + sum(z) for name, z in naive.z.items()}
    assert digests == EXAMPLE["digests"]
    assert [f"{word:08x}" for word in naive.words()] == EXAMPLE["state words"]
    assert fired["hidden"] and fired["deep"]


def test_the_example_of_metadata_is_what_a_file_holds():
    assert onnx_file.to_proto(example()).metadata_props[0].value == METADATA


@pytest.mark.parametrize(
    "tables", [(6000, 9000, 200, 900, 100, 10), (32768, 500, 1, 1, -40, -7), (2000, 2000, 6000, 5, 0, 0)]
)
def test_the_bound_of_adlif_is_that_of_section_6(tables):
    """In floats, whose sums of 20,000 powers are right to 1e-9. The code's integers are never below it: they round up
    twice, and add what powers below 2**-32 can still bring, less than a share of 1e-6."""
    c_mem, c_ad, c_pull, v_th, jump, bias = tables
    b, r, p = 1 - c_mem / 65536, 1 - c_ad / 65536, c_pull / 65536
    m = np.array([[b, -1], [p * b, r - p]])
    columns, sums = np.array([[1, 0], [p, 1]]), np.zeros((2, 2))
    for _ in range(20_000):
        sums += np.abs(columns)
        columns = m @ columns
    for drive in (0, 1234, 10**8):
        reach = sums @ [drive + abs(bias) + 1 + v_th, 2 + abs(jump)]
        expected = float(np.sum(reach)) + drive + abs(bias) + abs(jump) + 2
        found = adlif.bound(drive, *tables)
        assert -1e-9 * expected <= found - expected <= 2 + 1e-6 * expected


def test_only_one_recurrent_layer_is_named_by_its_neuron_alone():
    layer = tiny_model()
    skip = Projection("skip", "input", "out", CSR.from_dense(np.ones((3, 4))), 0)
    assert layer.structure == "cuba_lif"
    assert replace(layer, projections=(*layer.projections, skip)).structure == "cuba_lif+li 0>1 1>1 1>2 0>2"
    assert replace(layer, projections=layer.projections[::2]).structure == "cuba_lif+li 0>1 1>2"
