"""What every front end's file promises, for each that is found, and what the check of a file refuses."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from naive import FRONT_ENDS, octaves
from tiny import tiny_front

from lnp_edge.base.errors import ConfigError, ModelError
from lnp_edge.runtime.host import infer
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import frontend, ops, plugins
from lnp_edge.spec.frontend import RAW, FrontEnd, inputs

KINDS = plugins.names(frontend.PACKAGE)
FRAMES = (4, 8, 16)
EXTREMES = np.array([-32768, -1, 0, 1, 32767], np.int16)


def signals(frame, seed=1):
    """Windows [W, T, 2]: noise, full-scale noise, extremes only, a constant, a ramp."""
    rng, length = np.random.default_rng(seed), 6 * frame
    windows = [
        rng.normal(0, 300, (length, 2)),
        rng.integers(-32768, 32768, (length, 2)),
        rng.choice(EXTREMES, (length, 2)),
        np.full((length, 2), 32767),
        np.linspace(-32768, 32767, length)[:, None] * [1, -1],
    ]
    return np.stack(windows).clip(-32768, 32767).astype(np.int16)


def fitted(kind, frame):
    """The front end with its parameters as fitted, and with each at the ends of its range."""
    plain = FrontEnd(kind, frame).check()
    ends = [replace(plain, params=tuple((ends[k], ends[1 - k]) for ends in plain.ranges.values())) for k in (0, 1)]
    return [plain.fit(signals(frame).reshape(-1, 2)), *(ends if plain.ranges else [])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frame", FRAMES)
def test_a_file_keeps_its_promises(kind, frame):
    for front in fitted(kind, frame):
        found = front.run(signals(frame))
        assert found.shape == (5, 6, 2 * len(front.features)) and front.features
        assert len(set(inputs(front, ("a", "b")))) == 2 * len(front.features)
        assert isinstance(front.module.NOISE, bool)
        assert found.min() >= -32768 and found.max() <= 32767
        alone = [front.run(window).tolist() for window in signals(frame)]
        assert alone == found.tolist()  # each is from a reset


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_within_their_ranges_whatever_is_set(kind):
    """A file without parameters has no settings either."""
    front, settings = FrontEnd(kind, 4).check(), frontend.settings_of(kind)
    assert front.ranges or not settings
    samples = {"any": signals(4).reshape(-1, 2), "constant": np.full((9, 2), -32768, np.int16)}
    for counts in samples.values():
        for ends in ({}, *({name: own[k] for name, own in settings.items()} for k in range(3))):
            found = front.fit(counts, ends)
            assert [len(values) for values in found.params] == [2] * len(front.ranges)
            for values, (low, high) in zip(found.params, front.ranges.values(), strict=True):
                assert all(type(value) is int and low <= value <= high for value in values)
    assert front.fit(counts) == front.fit(counts, {name: own[0] for name, own in settings.items()})


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in FRONT_ENDS])
@pytest.mark.parametrize("frame", FRAMES)
def test_features_are_those_of_the_oracle(kind, frame):
    for front in fitted(kind, frame):
        found = front.run(signals(frame))
        for w, window in enumerate(signals(frame).tolist()):
            channels = [FRONT_ENDS[kind](frame, *(values[c] for values in front.params)) for c in range(2)]
            for t in range(6):
                step = window[t * frame : (t + 1) * frame]
                made = [one.features([row[c] for row in step]) for c, one in enumerate(channels)]
                assert found[w, t].tolist() == [of[f] for f in range(len(made[0])) for of in made], (front, w, t)


@pytest.mark.parametrize("frame", [1, 4])
def test_what_delta_sends_adds_up_to_the_samples_within_its_thresholds(frame):
    """So a threshold of one count loses nothing. A jump beyond int16 takes up to three samples."""
    counts = np.repeat(signals(4), 3, axis=1)
    for threshold in (1, 2, 300, 32767):
        sent = FrontEnd("delta", frame, ((threshold, threshold),)).run(counts).reshape(5, 72, 2)
        assert ((sent == 0) | (abs(sent) >= threshold)).all()
        apart = abs(counts - sent.cumsum(1))
        assert (apart[[0, 3, 4]] < threshold).all() and (apart[:, 2::3] < threshold).all()


def test_delta_by_hand():
    """Threshold 3: what is small adds up until it is sent; a threshold is one count at least, and of each channel."""
    counts = np.array([[[5, 5], [7, 4], [8, 4], [8, 4], [6, 9]]], np.int16)
    assert FrontEnd("delta", 1, ((3, 1),)).run(counts)[0].tolist() == [[5, 5], [0, -1], [3, 0], [0, 0], [0, 5]]
    scaled = np.array([[-100, 0], [100, 0]], np.int16)
    assert FrontEnd("delta", 1).fit(scaled, {"threshold": 0.1}).params == ((10, 1),)


def test_the_slopes_of_slope_by_hand():
    """Of frames: from last sample to last sample, of the first from its first sample; limited to int16."""
    counts = np.array([[[5, 0], [7, 9], [8, -30000], [4, -30000], [6, 1], [4, 32000]]], np.int16)
    assert FrontEnd("slope", 1).run(counts)[0, :, 2:].tolist() == [
        [0, 0], [2, 9], [1, -30009], [-4, 0], [2, 30001], [-2, 31999],
    ]  # fmt: skip
    assert FrontEnd("slope", 2).run(counts)[0].tolist() == [
        [5, 0, 7, 9, 2, 9], [8, -30000, 4, -30000, -3, -30009], [6, 1, 4, 32000, 0, 32767],
    ]  # fmt: skip


def test_leaky_sums_of_samples_and_slopes_span_the_present():
    """What a linear path hears through a read-out that leaks: without slopes the last sample is not in it."""
    counts = np.random.default_rng(1).normal(0, 300, (40, 30, 1)).astype(np.int16)
    stays = 0.9 ** np.arange(30)[::-1]
    heard = np.einsum("wtf,t->wf", FrontEnd("slope", 1).run(counts), stays)
    before = np.einsum("wt,t->w", counts[:, :-1, 0].astype(float), stays[1:])
    now = heard[:, 1] + 0.1 * before + stays[0] * counts[:, 0, 0]
    np.testing.assert_allclose(now, counts[:, -1, 0], atol=1e-9)  # sums of doubles


def test_the_features_of_logdiff_by_hand():
    """A frame of 2: its mean, and the logarithms of 1 + the moves by 1 and by 2 samples."""
    found = FrontEnd("logdiff", 2).run(np.array([[[10], [13]], [[5], [5]]], np.int16).reshape(1, 4, 1))
    assert found[0, 0].tolist() == [12, octaves(1 + 3), octaves(1 + 3)]
    # then from 10, 13 to 5, 5: moves by 1 are 8 and 0, by 2 are 5 and 8
    assert found[0, 1].tolist() == [5, octaves(9), octaves(14)]


def test_bands_tell_frequencies_apart():
    """A wave of two samples is in the highest band, one of a whole frame of 64 in low ones; silence is in none."""
    t, front = np.arange(64 * 4), FrontEnd("bands", 64)
    fast, slow = ((3000 * np.cos(np.pi * t)), (3000 * np.sin(2 * np.pi * t / 64)))
    found = front.run(np.stack([fast, slow, 0 * t], axis=1).astype(np.int16))[-1].reshape(-1, 3)[1:]
    assert found[:, 0].argmax() == 0 and found[:, 1].argmax() >= 3
    assert found[:, 2].tolist() == [0] * 6


def test_windows_of_whole_frames_are_the_rows_of_a_model():
    model = tiny_front("logdiff", 4)
    counts = np.arange(24, dtype=np.int16).reshape(8, 3)
    assert model.rows(counts).tolist() == counts.reshape(2, 12).tolist()
    assert (model.n_in, len(model.inputs), model.sample_dt) == (12, 12, 0.0025)


def test_a_stream_is_cut_into_windows_of_samples():
    """The hop is no multiple of the frame: a window starts with its own first sample."""
    model = tiny_front("logdiff", 4)
    stream = np.random.default_rng(1).normal(0, 400, (170, 3)).astype(np.int16)
    found = list(infer(Reference(model), model, stream))
    assert [p.start for p in found] == pytest.approx([41 * k * 0.0025 for k in range(3)])
    for k, prediction in enumerate(found):
        alone = Reference(model)
        assert prediction.y == tuple(alone.steps(model.rows(stream[41 * k : 41 * k + 80])).y)


def test_the_front_end_is_in_the_fingerprint_and_its_names_are_reserved():
    model = tiny_front("logdiff", 4)
    assert model.fingerprint != replace(model, front=FrontEnd("stack", 4)).fingerprint
    assert [f.full_name for f in model.fields[:4]] == [f"front_past{k}" for k in range(4)]
    renamed = replace(model.populations[0], name="front")
    with pytest.raises(ModelError, match="'front' cannot name a population"):
        replace(model, populations=(renamed, *model.populations[1:])).check()


@pytest.mark.parametrize(("kind", "frame", "said"), [
    ("logdiff", 3, "logdiff takes frames of 2 to 32"),
    ("logdiff", 64, "logdiff takes frames of 2 to 32"),
    ("bands", 2, "bands takes frames of 4 to 128"),
    ("stack", 0, "a step of 0 samples"),
    ("stack", 1025, "a step of 1025 samples"),
    ("nosuch", 4, "no front end is called 'nosuch'"),
])  # fmt: skip
def test_a_wrong_front_end_is_refused(kind, frame, said):
    with pytest.raises(ConfigError, match=said):
        FrontEnd(kind, frame).check()


# fmt: off
WRONG = {
    "feature 'a' of front end wrong may reach -65536..65534": lambda op, first, x, s: ((op.add(x[0], x[0]),), (s,)),
    "state 's' of front end wrong may reach": lambda op, first, x, s: ((x[0],), (op.add(s, x[0]),)),
    "mul in front end wrong may overflow":
        lambda op, first, x, s: ((op.clamp(op.mul(op.mul(x[0], x[0]), 3), 0, 9),), (s,)),
    "leak in front end wrong has the operand 262144": lambda op, first, x, s: ((op.leak(x[0], 262144),), (s,)),
    "shift_round in front end wrong has the operand 0": lambda op, first, x, s: ((op.shift_round(x[0], 0),), (s,)),
    "clamp in front end wrong has the operand":
        lambda op, first, x, s: ((op.clamp(x[0], -9, op.absolute(x[0])),), (s,)),
    "clamp in front end wrong is empty: 9 to -9": lambda op, first, x, s: ((op.clamp(x[0], 9, -9),), (s,)),
    "no operation op.less; available: add": lambda op, first, x, s: ((op.less(x[0], 3),), (s,)),
    "op.mul(x0, 0.5): it takes 2 values": lambda op, first, x, s: ((op.mul(x[0], 0.5),), (s,)),
    "op.add(x0): it takes 2 values": lambda op, first, x, s: ((op.add(x[0]),), (s,)),
    "unsupported operand type": lambda op, first, x, s: ((x[0] * 8,), (s,)),
    "takes 3 positional arguments": lambda op, first, x: ((x[0],), ()),
    "it looks at a value": lambda op, first, x, s: ((x[0] if first else s,), (s,)),
    "gate in front end wrong decides by x0": lambda op, first, x, s: ((op.gate(x[0], x[0]),), (s,)),
    "front end wrong gives a constant": lambda op, first, x, s: ((op.gate(first, 100),), (s,)),
    "gives 2 features and 1 state variables": lambda op, first, x, s: ((x[0], x[0]), (s,)),
    "shift_round in front end wrong may overflow":
        lambda op, first, x, s: ((op.clamp(op.shift_round(op.mul(x[0], 32769), 3), 0, 9),), (s,)),
}
# fmt: on


@pytest.mark.parametrize("said", WRONG)
def test_a_file_that_may_leave_its_ranges_is_refused(monkeypatch, said):
    names = {"features": lambda frame: ("a",), "state": lambda frame: {"s": 32768}}
    module = SimpleNamespace(NOISE=True, run=WRONG[said], **names)
    monkeypatch.setattr(frontend.plugins, "get", lambda package, name: module)
    frontend._checked.cache_clear()  # of the file that had this name before
    with pytest.raises(ConfigError, match=re.escape(said)):
        FrontEnd("wrong", 1).check()


@pytest.mark.parametrize("name", ["z", "State", "a b", "1a", "a-b", ""])
def test_a_state_variable_with_a_name_that_is_taken_is_refused(monkeypatch, name):
    names = {"features": lambda frame: ("a",), "state": lambda frame: {name: 9}}
    module = SimpleNamespace(NOISE=True, run=lambda op, first, x, s: ((x[0],), (s,)), **names)
    monkeypatch.setattr(frontend.plugins, "get", lambda package, kind: module)
    frontend._checked.cache_clear()
    with pytest.raises(ConfigError, match="a state variable of front end wrong is called"):
        FrontEnd("wrong", 1).check()


def test_operations_over_arrays_and_ranges_are_those_on_numbers():
    """Of every operation: over arrays the same values, and its range holds them."""
    assert set(ops.OVER_ARRAYS) == set(ops.FRONT_END_OPS) == set(frontend._RANGES)
    rng = np.random.default_rng(3)
    value = rng.integers(-(2**20), 2**20, (3, 200))
    value[:, :5] = [-(2**20), -1, 0, 1, 2**20]
    bits, leaks, shifts = rng.integers(0, 2, 200), rng.integers(1, 32769, 200), 3
    cases = {"leak": (value[0], leaks), "gate": (bits, value[0]), "choose": (bits, value[0], value[1]),
             "shift_round": (value[0], shifts), "clamp": (value[0], -500, 900), "mul": (value[0], value[1] >> 10),
             "absolute": (value[0],), "log2": (value[0],)}  # fmt: skip
    for name in ops.FRONT_END_OPS:
        args = cases.get(name, (value[0], value[1]))
        one, several = getattr(ops, name).py_func, ops.OVER_ARRAYS[name](*args)
        columns = [np.broadcast_to(a, 200).tolist() for a in args]
        expected = [one(*row) for row in zip(*columns, strict=True)]
        assert several.tolist() == expected, name
        if name == "leak":  # its leak is a constant
            columns[1] = [columns[1][0]] * 200
            expected = [one(*row) for row in zip(*columns, strict=True)]
        low, high = frontend._RANGES[name](*((min(column), max(column)) for column in columns))
        assert low <= min(expected) and max(expected) <= high, name


def test_raw_is_one_sample_as_it_is():
    x = np.arange(12, dtype=np.int16).reshape(2, 3, 2)
    assert RAW.run(x).tolist() == x.tolist() and inputs(RAW, ("a", "b")) == ("a", "b")


def wrong_file(monkeypatch, **changes):
    """A front end of one parameter with something else in its file; None: not there."""
    whole = {
        "NOISE": True, "PARAMS": {"p": (1, 9)}, "SETTINGS": {"share": (0.5, 0.0, 1.0)},
        "fit": lambda counts, share: {"p": np.full(counts.shape[-1], 1 + round(8 * share))},
        "features": lambda frame: ("a",), "state": lambda frame: {"s": 32768},
        "run": lambda op, first, x, s, p: ((op.gate(op.greater(x[0], p), x[0]),), (s,)),
    }  # fmt: skip
    module = SimpleNamespace(**{name: value for name, value in (whole | changes).items() if value is not None})
    monkeypatch.setattr(frontend.plugins, "get", lambda package, name: module)
    frontend._checked.cache_clear()
    return FrontEnd("wrong", 1)


def test_a_file_with_parameters_is_taken(monkeypatch):
    front = wrong_file(monkeypatch).check().fit(EXTREMES[:, None])
    assert front.params == ((5,),) and front.run(EXTREMES[:, None]).ravel().tolist() == [0, 0, 0, 0, 32767]
    assert front.fit(EXTREMES[:, None], {"share": 1.0}).params == ((9,),)


@pytest.mark.parametrize(("changes", "said"), [
    ({"NOISE": 1}, "NOISE of front end wrong is 1"),
    ({"SPECTRAL": 0}, "SPECTRAL of front end wrong is 0"),
    ({"EVENTS": "no"}, "EVENTS of front end wrong is 'no'"),
    ({"PARAMS": {"p": (0, 32768)}}, "has the parameters {'p': (0, 32768)}"),
    ({"PARAMS": {"p": (9, 1)}}, "has the parameters {'p': (9, 1)}"),
    ({"PARAMS": {"p": (0.0, 1)}}, "has the parameters {'p': (0.0, 1)}"),
    ({"PARAMS": {"p": 3}}, "cannot unpack"),
    ({"PARAMS": 3}, "'int' object is not iterable"),
    ({"PARAMS": None}, "has the parameters {}"),
    ({"fit": None}, "has the parameters {'p': (1, 9)}"),
    ({"PARAMS": {"s": (1, 9)}}, "a parameter of front end wrong is called 's'"),
    ({"PARAMS": {"P": (1, 9)}}, "a parameter of front end wrong is called 'P'"),
    ({"SETTINGS": {"share": (2.0, 0.0, 1.0)}}, "has the settings {'share': (2.0, 0.0, 1.0)}"),
    ({"SETTINGS": {"share": 3}}, "cannot unpack"),
    ({"run": lambda op, first, x, s: ((x[0],), (s,))}, "takes 4 positional arguments but 5"),
    ({"run": lambda op, first, x, s, p: ((p,), (s,))}, "front end wrong gives a constant"),
    ({"run": lambda op, first, x, s, p: ((op.clamp(x[0], -9, p),), (s,))}, "clamp in front end wrong has the operand"),
    ({"run": lambda op, first, x, s, p: ((op.mul(x[0], p),), (s,))}, "feature 'a' of front end wrong may reach"),
    ({"fit": lambda counts: {"p": np.ones(1, int)}}, "unexpected keyword argument 'share'"),
    ({"fit": lambda counts, share: {}}, "KeyError: 'p'"),
    ({"fit": lambda counts, share: {"p": 1}}, "'int' object is not iterable"),
    ({"fit": lambda counts, share: {"p": [1, 1]}}, "gives p (1, 1) for 1 channels"),
    ({"fit": lambda counts, share: {"p": [10]}}, "gives p (10,) for 1 channels"),
    ({"fit": lambda counts, share: {"p": [1.0]}}, "gives p (1.0,) for 1 channels"),
])  # fmt: skip
def test_a_file_with_wrong_parameters_is_refused(monkeypatch, changes, said):
    front = wrong_file(monkeypatch, **changes)
    with pytest.raises(ConfigError, match=re.escape(said)) as e:
        front.check().fit(np.zeros((3, 1), np.int16))
    assert "\n" not in e.value.what + e.value.try_next


def test_parameters_are_in_the_fingerprint_and_of_every_channel():
    model = tiny_front("delta", 4)
    (name, values), *_ = model.front.tables.items()
    assert (name, len(values), dict(model.arrays())["front_threshold"].tolist()) == ("threshold", 3, values.tolist())
    other = replace(model, front=replace(model.front, params=((1, 2, 3),)))
    assert other.check().fingerprint != model.fingerprint
    for params, said in (
        ((), "front threshold: expected 3 values, got none"),
        (((1, 2),), "front threshold: expected 3 values, got shape (2,)"),
        (((1, 0, 3),), "front threshold[1] is 0, outside 1..32767"),
        (((1, 2, 32768),), "front threshold[2] is 32768, outside 1..32767"),
    ):
        with pytest.raises(ModelError, match=re.escape(said)):
            replace(model, front=replace(model.front, params=params)).check()
