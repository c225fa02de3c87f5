"""The Numba reference does what SEMANTICS.md says: every state word and digest equals the slow oracle's."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lnp_edge.runtime.reference import Reference
from naive import Naive
from tiny import tiny_counts, tiny_model

from lnp_edge.base.errors import ModelError
from lnp_edge.spec.model import CSR

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


def test_the_compared_runs_have_spikes_negative_states_and_silence():
    model = tiny_model()
    naive, fired, lowest = Naive(model), 0, 0
    for row in tiny_counts(model, 60):
        naive.step(row)
        fired, lowest = fired + sum(naive.z), min(lowest, *naive.v)
    assert 100 < fired < 60 * model.n / 2
    assert lowest < -10_000


def test_full_scale_counts_for_ever_equal_the_oracle():
    model = tiny_model(3)
    for value in (-32768, 32767):
        assert_same_run(model, np.full((150, model.n_in), value, np.int16))


@st.composite
def models(draw):
    """Any sizes, leaks from 1 to 32768 and thresholds from 1 on; the largest shifts that can be proved."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, n_in, n_out = draw(st.integers(1, 66)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    start = tiny_model(1, n, n_in, n_out)

    def weights(pre, post):
        return CSR.from_dense(rng.integers(-127, 128, (pre, post)) * (rng.random((pre, post)) < rng.random()))

    def leaks(count):
        return np.exp2(rng.uniform(draw(st.sampled_from([0, 8, 12])), 15, count)).astype(np.int32)

    model = replace(
        start,
        w_in=weights(n_in, n),
        w_rec=weights(n, n),
        w_out=weights(n, n_out),
        params={
            "c_syn": leaks(n),
            "c_mem": leaks(n),
            "v_th": np.exp2(rng.uniform(0, 20, n)).astype(np.int32),
            "bias": rng.integers(-500, 500, n, dtype=np.int32),
        },
        c_out=leaks(n_out),
    )
    for shift in range(draw(st.integers(0, 16)), -1, -1):
        try:
            return replace(model, shift_in=shift, shift_rec=max(0, shift - 3), shift_out=shift).check()
        except ModelError:
            continue
    fast = {c: np.full(n, 20000, np.int32) for c in ("c_syn", "c_mem")}
    slow = np.full(n_out, 20000, np.int32)
    return replace(model, params=model.params | fast, c_out=slow, shift_in=0, shift_rec=0, shift_out=0).check()


@settings(max_examples=60)
@given(models(), st.integers(0, 2**32 - 1))
def test_any_provable_model_equals_the_oracle(model, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(-32768, 32768, (12, model.n_in)).astype(np.int16)
    counts[rng.random(counts.shape) < 0.3] = rng.choice(np.array([-32768, 0, 32767], np.int16))
    assert_same_run(model, counts)


def test_state_is_the_same_without_digests():
    model = tiny_model()
    counts = tiny_counts(model, 100)
    with_them, without = Reference(model), Reference(model)
    y = with_them.steps(counts).y
    assert without.steps(counts, digests=False).y.tolist() == y.tolist()
    assert without.state().tolist() == with_them.state().tolist()


@pytest.mark.parametrize("batch", [1, 7, 99, 100])
def test_how_steps_are_batched_does_not_matter(batch):
    model = tiny_model()
    counts = tiny_counts(model, 100)
    whole, pieces = Reference(model), Reference(model)
    expected = whole.steps(counts).digests.tolist()
    found = [d for at in range(0, 100, batch) for d in pieces.steps(counts[at : at + batch]).digests.tolist()]
    assert found == expected
    assert pieces.state().tolist() == whole.state().tolist()
    assert (pieces.t, pieces.digest) == (100, expected[-1])


def test_reset_forgets_everything():
    model = tiny_model()
    counts = tiny_counts(model, 80)
    used = Reference(model)
    used.steps(counts[::-1])
    used.reset()
    assert used.state().tolist() == [0] * model.state_words
    assert used.steps(counts).digests.tolist() == Reference(model).steps(counts).digests.tolist()


def test_no_steps_change_nothing():
    model = tiny_model()
    reference = Reference(model)
    reference.steps(tiny_counts(model, 5))
    before = reference.state().tolist()
    found = reference.steps(np.zeros((0, model.n_in), np.int16))
    assert (found.digests.tolist(), reference.state().tolist()) == ([], before)


def test_known_digests_of_a_known_model():
    """Literal, so that a change of reference and oracle together does not pass unseen."""
    model = tiny_model()
    found = Reference(model).steps(tiny_counts(model, 3)).digests
    assert [f"{d:08x}" for d in found.tolist()] == ["b04ee287", "2b114c2e", "9f8f9480"]
