"""The Numba reference does what SEMANTICS.md says: every state word and digest equals the slow oracle's."""

import importlib
import linecache
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import FakePort
from naive import Naive
from tiny import ALL, known_neurons, random_model, tiny_counts, tiny_model

from lnp_edge import neurons
from lnp_edge.base.errors import DataError
from lnp_edge.runtime import reference
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.model import INPUT

SIZES = [(1, 1, 1), (31, 2, 3), (32, 1, 2), (33, 3, 1), (64, 2, 2), (70, 5, 4)]


def assert_same_run(model, counts):
    naive, reference = Naive(model), Reference(model)
    for t, row in enumerate(counts):
        naive.step(row)
        found = reference.steps(row[None])
        assert found.digests.tolist() == [naive.h], f"step {t}"
        assert reference.state().tolist() == naive.words(), f"step {t}"
        assert found.y.tolist() == naive.y


@pytest.mark.parametrize(("n", "n_in", "n_out"), SIZES)
def test_every_state_word_and_digest_equals_the_oracle(n, n_in, n_out):
    model = tiny_model(n, n, n_in, n_out)
    assert_same_run(model, tiny_counts(model, 60))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("seed", range(3))
def test_every_state_word_of_a_stack_and_behind_every_front_end_equals_the_oracle(kind, seed):
    model = ALL[kind](seed)
    assert_same_run(model, tiny_counts(model, 40))


@pytest.mark.parametrize("kind", ALL)
def test_the_compared_runs_have_spikes_negative_states_and_silence(kind):
    model = ALL[kind]()
    naive, fired, lowest = Naive(model), {p.name: 0 for p in model.populations if p.spikes}, 0
    for row in tiny_counts(model, 60):
        naive.step(row)
        for name in fired:
            fired[name] += sum(naive.z[name])
        lowest = min(lowest, *(min(s["v"]) for s in naive.s[:-1]))
    for name, spikes in fired.items():
        assert 30 < spikes < 60 * model.population(name).n / 2
    assert lowest < -10_000


@pytest.mark.parametrize("kind", ALL)
def test_full_scale_counts_for_ever_equal_the_oracle(kind):
    model = ALL[kind](3)
    for value in (-32768, 32767):
        assert_same_run(model, np.full((80, model.n_in), value, np.int16))


@pytest.mark.parametrize("seed", range(40))
def test_any_structure_equals_the_oracle(seed):
    """Of populations, neurons, projections, bits and shifts, all leaks and the largest shifts that can be proved."""
    model, rng = random_model(seed), np.random.default_rng(seed)
    counts = rng.integers(-32768, 32768, (12, model.n_in)).astype(np.int16)
    counts[rng.random(counts.shape) < 0.3] = rng.choice(np.array([-32768, 0, 32767], np.int16))
    assert_same_run(model, counts)


def test_the_random_structures_hold_every_case():
    models = [random_model(seed) for seed in range(40)]
    projections = [(m, p) for m in models for p in m.projections]
    assert {len(m.populations) for m in models} == {2, 3, 4, 5}
    assert {p.bits for _, p in projections} == {4, 8, 16} and {0, 16} <= {p.shift for _, p in projections}
    assert {m.delayed(p) for m, p in projections} == {False, True}
    assert any(p.w.nnz == 0 for _, p in projections) and any(not m.into(p) for m in models for p in m.populations)
    assert any(p.source == INPUT and p.target == "out" for _, p in projections)
    assert {p.neuron for m in models for p in m.populations} == {*known_neurons(True), *known_neurons(False)}
    assert len({m.encoder for m in models}) > 1
    assert any(len(m.projections) > len({(p.source, p.target) for p in m.projections}) for m in models)
    assert min(int(t.min()) for m in models for p in m.populations for n, t in p.params.items() if n == "c_mem") < 64


@pytest.mark.parametrize("kind", ALL)
def test_state_is_the_same_without_digests(kind):
    model = ALL[kind]()
    counts = tiny_counts(model, 100)
    with_them, without = Reference(model), Reference(model)
    y = with_them.steps(counts).y
    assert without.steps(counts, digests=False).y.tolist() == y.tolist()
    assert without.state().tolist() == with_them.state().tolist()


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("batch", [1, 7, 99, 100])
def test_how_steps_are_batched_does_not_matter(batch, kind):
    model = ALL[kind]()
    counts = tiny_counts(model, 100)
    whole, pieces = Reference(model), Reference(model)
    expected = whole.steps(counts).digests.tolist()
    found = [d for at in range(0, 100, batch) for d in pieces.steps(counts[at : at + batch]).digests.tolist()]
    assert found == expected
    assert pieces.state().tolist() == whole.state().tolist()
    assert (pieces.t, pieces.digest) == (100, expected[-1])


@pytest.mark.parametrize("kind", ALL)
def test_reset_forgets_everything(kind):
    model = ALL[kind]()
    counts = tiny_counts(model, 80)
    used = Reference(model)
    used.steps(counts[::-1])
    used.reset()
    assert used.state().tolist() == [0] * model.state_words
    assert used.steps(counts).digests.tolist() == Reference(model).steps(counts).digests.tolist()


@pytest.mark.parametrize("kind", ALL)
def test_no_steps_change_nothing(kind):
    model = ALL[kind]()
    reference = Reference(model)
    reference.steps(tiny_counts(model, 5))
    before = reference.state().tolist()
    found = reference.steps(np.zeros((0, model.n_in), np.int16))
    assert (found.digests.tolist(), reference.state().tolist()) == ([], before)


def runners(model):
    return Reference(model), Device(FakePort(model), model)


BAD = [
    (np.zeros((128, 6), np.int16), "counts have shape (128, 6), not (steps, 3)"),
    (np.zeros((128, 2), np.int16), "counts have shape (128, 2), not (steps, 3)"),
    (np.zeros(3, np.int16), "counts have shape (3,), not (steps, 3)"),
    (np.zeros((1, 4, 3), np.int16), "counts have shape (1, 4, 3), not (steps, 3)"),
    (np.zeros((4, 3)), "counts are float64, not integers"),
    (np.full((4, 3), np.nan, np.float32), "counts are float32, not integers"),
    (np.zeros((4, 3), bool), "counts are bool, not integers"),
    (np.array([[1, 2, 3], [4, 32768, 5]]), "count 32768 at step 1, channel 1 is outside -32768..32767"),
    (np.array([[1, 2, -32769]], np.int32), "count -32769 at step 0, channel 2 is outside -32768..32767"),
    (np.array([[1, 2, 2**64 - 1]], np.uint64), f"count {2**64 - 1} at step 0, channel 2 is outside -32768..32767"),
]


@pytest.mark.parametrize(("counts", "what"), BAD, ids=[what for _, what in BAD])
def test_counts_of_another_shape_or_kind_are_refused_and_change_nothing(counts, what):
    for runner in runners(tiny_model()):
        with pytest.raises(DataError) as e:
            runner.steps(counts)
        assert e.value.what == what and e.value.try_next
        assert runner.t == 0


@pytest.mark.parametrize("kind", [np.int64, np.int32, ">i2", "<i2", "read-only", "columns", "offset"])
def test_the_same_counts_in_another_array_give_the_same_run_by_the_same_kernel(kind):
    model = tiny_model()
    counts = tiny_counts(model, 60)
    expected = Reference(model).steps(counts).digests.tolist()
    if kind == "read-only":
        other = counts.copy()
        other.flags.writeable = False
    elif kind == "columns":
        other = np.asfortranarray(counts)
    elif kind == "offset":  # a byte off what int16 wants
        other = np.frombuffer(bytearray(b"x" + counts.tobytes()), np.int16, offset=1).reshape(counts.shape)
    else:
        other = counts.astype(kind)
    kernels = len(reference._kernel.signatures)
    for runner in runners(model):
        assert runner.steps(other).digests.tolist() == expected
    assert len(reference._kernel.signatures) == kernels


def test_a_step_from_another_file_is_compiled_again_when_that_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(neurons, "__path__", [*neurons.__path__, str(tmp_path)])
    (tmp_path / "borrows.py").write_text("from lnp_edge.neurons.lends import *\n")
    cuba = (Path(neurons.__path__[0]) / "cuba_lif.py").read_text()
    model, digests = tiny_model(), []
    hidden, out = model.populations
    for lent in (cuba, cuba.replace("add(i_syn, bias)", "sub(i_syn, bias)  # not the step of before")):
        (tmp_path / "lends.py").write_text(lent)
        for name in ("borrows", "lends"):
            sys.modules.pop(f"lnp_edge.neurons.{name}", None)
        importlib.invalidate_caches()
        linecache.checkcache()
        reference._advance_of.cache_clear()
        runner = Reference(replace(model, populations=(replace(hidden, neuron="borrows"), out)))
        digests.append(runner.steps(tiny_counts(model, 20)).digests.tolist())
    assert digests[0] == Reference(model).steps(tiny_counts(model, 20)).digests.tolist() != digests[1]


def test_a_pickled_reference_goes_on_in_another_process():
    """Where the functions that its kernel calls have other addresses."""
    model = tiny_model()
    runner, counts = Reference(model), tiny_counts(model, 40)
    runner.steps(counts[:20])
    there = (
        "import pickle, sys; runner, counts = pickle.load(sys.stdin.buffer); print(runner.steps(counts).digests[-1])"
    )
    done = subprocess.run([sys.executable, "-c", there], input=pickle.dumps((runner, counts[20:])), capture_output=True)
    assert (done.returncode, done.stdout.split()) == (0, [b"%d" % runner.steps(counts[20:]).digests[-1]])


def test_small_unsigned_counts_are_taken():
    model = tiny_model()
    counts = np.abs(tiny_counts(model, 10)) % 200
    expected = Reference(model).steps(counts).digests.tolist()
    assert Reference(model).steps(counts.astype(np.uint8)).digests.tolist() == expected


@pytest.mark.parametrize(("kind", "digests"), [
    ("layer", ["b04ee287", "2b114c2e", "9f8f9480"]),
    ("stack", ["964f9b71", "719cccae", "32955e22"]),
])  # fmt: skip
def test_known_digests_of_a_known_model(kind, digests):
    """Literal, so that a change of reference and oracle together does not pass unseen."""
    model = ALL[kind]()
    found = Reference(model).steps(tiny_counts(model, 3)).digests
    assert [f"{d:08x}" for d in found.tolist()] == digests


def test_a_run_without_digests_gives_none():
    model = tiny_model()
    assert len(Reference(model).steps(tiny_counts(model, 3), digests=False).digests) == 0


def test_no_steps_leave_the_read_out_as_it_is_on_a_device_too():
    model = tiny_model(n=8)
    reference, device = Reference(model), Device(FakePort(model), model)
    for runner in (reference, device):
        runner.reset()
        runner.steps(tiny_counts(model, 20))
    none = np.zeros((0, model.n_in), np.int16)
    assert device.steps(none).y.tolist() == reference.steps(none).y.tolist()


def test_rows_of_different_length_are_refused_in_two_lines():
    with pytest.raises(DataError):
        Reference(tiny_model(n=8)).steps([[1, 2, 3], [1, 2]])
