"""What every encoder's file promises, for each that is found."""

import itertools
from dataclasses import replace

import naive
import numpy as np
import pytest
from tiny import random_encoder_params, tiny_counts, tiny_model

from lnp_edge.encoders import clamped, encode
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import ops, plugins
from lnp_edge.spec.model import X_MAX
from lnp_edge.spec.trace import trace

ENCODERS = plugins.names("lnp_edge.encoders")
PLAIN = {name: getattr(ops, name).py_func for name in ops.OPS}  # of Python integers, which cannot overflow
EVERY = np.arange(-32768, 32768).astype(np.int16)  # all counts
EXTREME = [-32768, -32767, -200, -1, 0, 1, 2, 127, 32766, 32767]


@pytest.fixture(params=ENCODERS)
def encoder(request):
    return request.param


@pytest.fixture
def module(encoder):
    return plugins.get("lnp_edge.encoders", encoder)


def corners(module):
    """Every combination of each parameter's lowest and highest value and of those next to 0, {name: int32 [C]}."""
    values = [sorted({low, *(v for v in (-1, 0, 1) if low <= v <= high), high}) for low, high in module.PARAMS.values()]
    columns = np.array(list(itertools.product(*values)), np.int32).T
    return dict(zip(module.PARAMS, columns, strict=True))


def random_params(encoder, channels):
    return random_encoder_params(encoder, np.random.default_rng(1), channels)


def scalar(module, count, params, k):
    """encode of one count of channel k on Python integers; every intermediate must be an int32 value."""

    def within(op):
        def checked(*args):
            result = op(*args)
            assert abs(result) < 2**31
            return result

        return checked

    step = ops.bind(module.encode, {name: within(op) for name, op in PLAIN.items()})
    return step(count, *(int(params[name][k]) for name in module.PARAMS))


# ---- what is in the file


def test_encode_is_operations_over_a_count_and_the_parameters(module):
    found = trace(module.encode)
    assert found.args == ("count", *module.PARAMS) and len(found.returns) == 1
    for low, high in module.PARAMS.values():
        assert -32768 <= low < high <= 32767  # a device holds them as int16


@pytest.mark.parametrize("params", ["corners", "random"])
def test_encode_over_arrays_is_the_function_of_one_count(encoder, module, params):
    columns = corners(module) if params == "corners" else random_params(encoder, 100)
    counts = np.array(EXTREME, np.int16)
    channels = len(next(iter(columns.values())))
    found = encode(encoder, np.tile(counts[:, None], channels), columns)
    for row, count in zip(found.tolist(), EXTREME, strict=True):
        assert row == [scalar(module, count, columns, k) for k in range(channels)]


@pytest.mark.parametrize("encoder", naive.ENCODERS)
def test_encode_is_what_the_oracle_says_in_words(encoder, module):
    """Of every encoder that is in the oracle, which shares no code with them."""
    for columns in (corners(module), random_params(encoder, 100)):
        lists = {name: values.tolist() for name, values in columns.items()}
        for k in range(len(next(iter(lists.values())))):
            for count in EXTREME:
                assert scalar(module, count, columns, k) == naive.ENCODERS[encoder](count, lists, k)


# ---- limits


def test_limits_hold_for_every_count_and_no_input_is_beyond_127(encoder, module):
    for columns in (corners(module), random_params(encoder, 50), module.fit(training())):
        limits = module.limits(**columns)
        assert limits.dtype == np.int32 and (limits <= X_MAX).all()
        for k in range(len(limits)):
            one = {name: values[k : k + 1] for name, values in columns.items()}
            assert np.abs(encode(encoder, EVERY[:, None], one)).max() <= limits[k]


def test_a_fitted_channel_reaches_its_limit(encoder, module):
    """Otherwise the proof of no overflow counts with inputs that cannot be. Not a constant channel, of which is not
    known what it will be, and not one that varies so much that int16 ends less than 4 deviations from its mean."""
    counts = training().astype(float)
    far = counts.std(0) * 127 / module.TARGET_STD + 2
    reaches = (counts.std(0) > 0) & ((counts.mean(0) + far < 32767) | (counts.mean(0) - far > -32768))
    params = module.fit(training())
    x = encode(encoder, np.tile(EVERY[:, None], len(CHANNELS)), params)
    assert reaches.sum() == 5
    assert (np.abs(x).max(0) == module.limits(**params))[reaches].all()


# ---- fit and decode

CHANNELS = {  # what a channel's training counts may be
    "constant": lambda rng, n: np.full(n, 77),
    "zero": lambda rng, n: np.zeros(n),
    "lowest": lambda rng, n: np.full(n, -32768),
    "two values": lambda rng, n: rng.choice([5, 6], n),
    "events": lambda rng, n: rng.integers(0, 2, n),
    "extremes": lambda rng, n: rng.choice([-32768, 32767], n),
    "one outlier": lambda rng, n: np.where(np.arange(n) == 3, 32767, 0),
    "noise": lambda rng, n: rng.normal(100, 600, n),
    "slow": lambda rng, n: np.linspace(-3, 3, n),
}


def training():
    rng = np.random.default_rng(1)
    columns = [draw(rng, 4000).clip(-32768, 32767).astype(np.int16) for draw in CHANNELS.values()]
    return np.stack(columns, axis=1)


def test_fit_gives_parameters_within_their_ranges_that_shape_does_not_change(module):
    found = module.fit(training())
    assert list(found) == list(module.PARAMS)
    for name, (low, high) in module.PARAMS.items():
        assert found[name].dtype == np.int32 and found[name].shape == (len(CHANNELS),)
        assert low <= found[name].min() and found[name].max() <= high
    again = module.fit(training().reshape(40, 100, len(CHANNELS)))
    assert all((again[name] == found[name]).all() for name in found)


def test_a_fitted_channel_of_ordinary_counts_has_the_standard_deviation_that_is_promised(encoder, module):
    counts = np.random.default_rng(1).normal(-300, 500, (20_000, 1)).astype(np.int16)
    x = encode(encoder, counts, module.fit(counts))
    assert abs(x.std() - module.TARGET_STD) < 0.5  # of rounding, and of what is clamped
    assert abs(x.mean()) < 1


def test_decode_gives_counts_whose_input_is_within_a_unit(encoder, module):
    """From inputs to counts and back: within a unit, or what half a count is worth where that is more."""
    params = module.fit(training())
    x_of_every = encode(encoder, np.tile(EVERY[:, None], len(CHANNELS)), params)
    a_count = np.abs(np.diff(x_of_every, axis=0)).max(0)
    compared = 0
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):  # of the way from the lowest input to the highest
        x = np.round(x_of_every.min(0) + part * (x_of_every.max(0) - x_of_every.min(0)))[None]
        counts = module.decode(x, **params)
        assert counts.dtype == np.int16 and counts.shape == x.shape
        error = np.abs(encode(encoder, counts, params) - x)
        assert (error <= np.maximum(1, (a_count + 1) // 2)).all()
        compared += (x != 0).sum()
    assert compared > 20


# ---- clamped


def test_a_channel_of_zeros_and_ones_is_left_as_it_is():
    counts = training()
    params = clamped.fit(counts)
    events = list(CHANNELS).index("events")
    x = encode("clamped", np.tile(EVERY[:, None], len(CHANNELS)), params)[:, events]
    assert x.tolist() == [min(max(c, 0), 1) for c in EVERY.tolist()]
    assert clamped.limits(**params)[events] == 1


def test_other_channels_are_those_of_affine():
    affine = plugins.get("lnp_edge.encoders", "affine")
    counts = training()
    events = [name in ("events", "zero") for name in CHANNELS]
    ours, theirs = (encode(m.__name__.rpartition(".")[2], counts, m.fit(counts)) for m in (clamped, affine))
    assert (ours == theirs)[:, ~np.array(events)].all()


def test_an_event_channel_costs_the_proof_a_factor_of_1():
    """The drive that is counted with falls by 126 times the weights of the channel, and by nothing else."""
    model = tiny_model()
    columns = model.encoder_params | {"low": np.full(3, -127, np.int32), "high": np.full(3, 127, np.int32)}
    whole = replace(model, encoder="clamped", encoder_params=columns).check()
    one = {name: np.where(np.arange(3) == 1, clamped.EVENT[name], values) for name, values in columns.items()}
    event = replace(whole, encoder_params={name: v.astype(np.int32) for name, v in one.items()}).check()
    hidden = model.populations[0]
    assert whole.drive_bounds(hidden) == model.drive_bounds(hidden)
    saved = [126 * abs(w) for w in model.projection("in").w.dense()[1].tolist()]
    found = [a - b for a, b in zip(whole.drive_bounds(hidden), event.drive_bounds(hidden), strict=True)]
    assert found == saved and max(saved) > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_model_with_event_channels_runs_on_the_reference_as_on_the_oracle(seed):
    model = tiny_model(seed)
    columns = clamped.fit(np.stack([np.arange(40) % 2, np.arange(40) * 9, np.zeros(40)], 1).astype(np.int16))
    model = replace(model, encoder="clamped", encoder_params=columns).check()
    oracle, reference = naive.Naive(model), Reference(model)
    for row in tiny_counts(model, 60):
        oracle.step(row)
        assert reference.steps(row[None]).digests.tolist() == [oracle.h]
