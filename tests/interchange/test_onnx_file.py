"""model.onnx runs anywhere to the same bits, and comes back as it was."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from conftest import need
from elsewhere import as_onnx
from naive import Naive
from tiny import ALL, random_model, tiny_counts, tiny_loop, tiny_model, tiny_stack

from lnp_edge.interchange import onnx_file
from lnp_edge.spec.frontend import GROUP
from lnp_edge.spec.model import CSR

STRUCTURES = [pytest.param(lambda seed=seed: random_model(seed), id=f"structure {seed}") for seed in range(24)]


# ---- it runs


def assert_equals_the_oracle(model, counts, outputs):
    """outputs: each field of the state words [T, n], z unpacked."""
    naive = Naive(model)
    place = {p.name: k for k, p in enumerate(model.populations)}
    front = list(model.front.state)
    for t, row in enumerate(counts):
        naive.step(row)
        for field, found in zip(model.fields, outputs, strict=True):
            if field.population == GROUP:
                k = front.index(field.name)
                expected = [of_channel.state()[k] for of_channel in naive.front]
                assert found[t].tolist() == expected, f"{field.full_name} at step {t}"
                continue
            state = naive.s[place[field.population]]
            expected = naive.z[field.population] if field.name == "z" else state[field.name]
            assert found[t].tolist() == expected, f"{field.full_name} at step {t}"


def run_in_onnxruntime(model, counts):
    need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = onnx_file.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == [f.full_name for f in model.fields]
    return session.run(None, {"counts": counts})


SIZES = [(1, 40, 3, 4), (2, 1, 1, 1), (3, 64, 5, 2)]
LAYERS = [pytest.param(lambda sizes=sizes: tiny_model(*sizes), id=f"layer {sizes}") for sizes in SIZES]


@pytest.mark.parametrize("build", [*LAYERS, *ALL.values(), lambda: tiny_stack(2, n_in=1, n_out=1)])
def test_onnxruntime_gives_the_bits_of_the_oracle(build):
    model = build()
    counts = tiny_counts(model, 120)
    assert_equals_the_oracle(model, counts, run_in_onnxruntime(model, counts))


@pytest.mark.parametrize("build", STRUCTURES)
def test_onnxruntime_gives_the_bits_of_the_oracle_for_any_structure(build):
    model = build()
    counts = tiny_counts(model, 12)
    assert_equals_the_oracle(model, counts, run_in_onnxruntime(model, counts))


@pytest.mark.parametrize("build", [*ALL.values(), *STRUCTURES[:8]])
def test_the_reference_evaluator_of_onnx_gives_the_bits_of_the_oracle(build):
    from onnx.reference import ReferenceEvaluator

    model = build()
    counts = tiny_counts(model, 12)
    found = ReferenceEvaluator(onnx_file.to_proto(model)).run(None, {"counts": counts})
    assert_equals_the_oracle(model, counts, found)


@pytest.mark.parametrize("build", [*ALL.values(), *STRUCTURES[:8]])
def test_it_is_a_valid_graph_of_the_standard_operators(build):
    proto = onnx_file.to_proto(build())
    onnx.checker.check_model(proto, full_check=True)
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", 18)]


# ---- it comes back


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", [*ALL, "structure"])
def test_a_model_comes_back_with_its_fingerprint_and_the_same_bytes(tmp_path, kind, seed):
    model = replace(
        (ALL | {"structure": random_model})[kind](seed),
        provenance={"config": {"seed": 1}, "note": "a \u00e9\ud800 \x1b[31m"},
    )
    onnx_file.save(model, tmp_path / "a.onnx")
    found = onnx_file.load(tmp_path / "a.onnx")
    onnx_file.save(found, tmp_path / "b.onnx")
    assert found.fingerprint == model.fingerprint
    assert (tmp_path / "b.onnx").read_bytes() == (tmp_path / "a.onnx").read_bytes()
    plain = ("dt", "window", "hop", "channels", "classes", "provenance", "encoder", "structure", "fields")
    assert [getattr(found, f) for f in plain] == [getattr(model, f) for f in plain]
    assert found.forecast is None
    parts = [("name", "neuron", "n"), ("name", "source", "target", "shift", "bits")]
    for whole, names in zip(("populations", "projections"), parts, strict=True):
        of = [[[getattr(p, n) for n in names] for p in getattr(m, whole)] for m in (found, model)]
        assert of[0] == of[1]
    assert [(name, a.tolist()) for name, a in found.arrays()] == [(name, a.tolist()) for name, a in model.arrays()]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_a_forecast_comes_back_to_the_last_bit(tmp_path):
    loop = tiny_loop()
    model = replace(loop, forecast=replace(loop.forecast, unit=(1 / 3, 5e-324, 1e9)))
    onnx_file.save(model, tmp_path / "a.onnx")
    found = onnx_file.load(tmp_path / "a.onnx")
    assert found.forecast == model.forecast
    assert found.fingerprint == model.fingerprint == replace(model, forecast=None).fingerprint


def test_a_model_without_a_single_synapse_comes_back(tmp_path):
    model = tiny_model(1, n=6, n_in=2, n_out=2)
    none = tuple(replace(p, w=CSR.from_dense(np.zeros(p.w.shape))) for p in model.projections)
    for kept in (none, ()):
        onnx_file.save(replace(model, projections=kept), tmp_path / "a.onnx")
        found = onnx_file.load(tmp_path / "a.onnx")
        assert (found.synapses, len(found.projections)) == (0, len(kept))


def test_the_same_model_gives_the_same_bytes_in_another_process(elsewhere):
    assert elsewhere["onnx"] == as_onnx()
