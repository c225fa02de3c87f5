"""What every neuron's file promises, for each that is found, and for two that only the tests have."""

import time
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
import pytest
from numba import njit
from tiny import random_tables, tiny_counts, tiny_model

from lnp_edge import neurons
from lnp_edge.base.errors import ConfigError
from lnp_edge.cli import main
from lnp_edge.config import NetworkSettings
from lnp_edge.neurons import adlif
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec import ops, plugins
from lnp_edge.spec.model import CSR, INPUT, Population, Projection
from lnp_edge.spec.neuron import neuron_module
from lnp_edge.spec.parameters import SHORTEST
from lnp_edge.spec.trace import trace

NEURONS = plugins.names("lnp_edge.neurons")
PLUGINS = ["lif_own_reset", "lif_zero_reset"]
PLAIN = {name: getattr(ops, name).py_func for name in ops.OPS}  # of Python integers, which cannot overflow
DT = 0.01


@pytest.fixture(params=[*NEURONS, *PLUGINS])
def neuron(request, more_neurons):
    return request.param


@pytest.fixture
def module(neuron):
    return plugins.get("lnp_edge.neurons", neuron)


def test_the_neurons_of_the_tests_are_found_while_a_test_asks_for_them_and_not_after(more_neurons):
    assert more_neurons == PLUGINS
    assert set(PLUGINS) <= set(plugins.names("lnp_edge.neurons"))
    assert not set(PLUGINS) & set(NEURONS)


# ---- what is in the file


def test_a_step_is_operations_over_state_drive_and_tables(module):
    found = trace(module.step)
    assert found.args == (*module.STATE, "drive", *module.TABLES)
    spikes = hasattr(module, "drive_for")
    assert found.returns == (*module.STATE, "z") if spikes else module.STATE
    assert all(name != "z" for name in module.STATE)  # then the fields of the state words have different names
    if spikes:
        assert {"v_th", "bias"} <= set(module.PARAMETERS)


def test_every_table_is_made_of_a_parameter_and_holds_its_range(module):
    for stored in module.TABLES.values():
        assert stored.source in module.PARAMETERS
        info = np.iinfo(stored.ctype)
        assert info.min <= stored.low <= stored.high <= info.max


def test_every_parameter_says_what_it_is_and_draws_within_its_range(module):
    rng, drawn = np.random.default_rng(1), {}
    for name, p in module.PARAMETERS.items():
        assert len(p.meaning) > 5 and not p.meaning.endswith(".")
        assert (p.unit == "s") == p.is_time
        assert p.low < p.high
        values = p.draw(rng, 500, p.default) * (1.0 if p.scale is None else p.scale(DT, drawn))
        drawn[name] = np.maximum(values, SHORTEST * DT) if p.is_time else values
        assert drawn[name].shape == (500,) and drawn[name].dtype == np.float64 and np.isfinite(drawn[name]).all()
        assert (drawn[name] >= p.low).all() and (drawn[name] <= p.high).all()
        assert (p.draw(np.random.default_rng(2), 3, 0.7) >= 0).all()
    for name, stored in module.TABLES.items():
        integers = stored.integers(drawn[stored.source], DT, np.full(500, 4000.0))
        assert integers.dtype == np.int32 and integers.min() >= stored.low and integers.max() <= stored.high, name
    if hasattr(module, "drive_for"):
        for drive in module.drive_for(DT, drawn):
            assert drive.shape == (500,) and (drive > 0).all()


# ---- the bound


def recorded(module):
    """The step on Python integers, and a list whose only element is the largest |result| of any operation so far."""
    largest = [0]

    def keeping(op):
        def wrapped(*args):
            result = op(*args)
            largest[0] = max(largest[0], abs(result))
            return result

        return wrapped

    return ops.bind(module.step, {name: keeping(op) for name, op in PLAIN.items()}), largest


def run(module, step, tables, drives):
    """The state variables after each step from zero, [[...], ...]."""
    state, found = [0] * len(module.STATE), []
    for drive in drives:
        after = step(*state, drive, *tables)
        state = list(after)[: len(state)] if isinstance(after, tuple) else [after]
        found.append(state)
    return found


def pushes(module, tables, most, steps, rng):
    """Drives of +-most that push: each for ever, in turn, at random, and what adds up best in each state variable.

    A neuron is nearly linear: the drive of step k that takes a variable furthest at the last step has the sign of what
    a pulse at step k is there. Its response to a pulse is found by running it, with a threshold out of reach.
    """
    yield [most] * steps
    yield [-most] * steps
    for period in (1, 2, 5, 17):
        yield [most if k // period % 2 else -most for k in range(steps)]
    yield rng.choice([-most, most], steps).tolist()
    silent = [0 if n == "bias" else 2**60 if n == "v_th" else t for n, t in zip(module.TABLES, tables, strict=True)]
    response = run(module, ops.bind(module.step, PLAIN), silent, [2**24] + [0] * (steps - 1))
    for variable in range(len(module.STATE)):
        worst = [most if state[variable] >= 0 else -most for state in reversed(response)]
        yield worst
        yield [-d for d in worst]


@pytest.mark.parametrize("seed", range(12))
def test_no_variable_of_a_step_exceeds_the_bound(neuron, module, seed):
    rng = np.random.default_rng(seed)
    tables = [int(values[0]) for values in random_tables(neuron, seed, 1).values()]
    most = int(np.exp2(rng.uniform(0, 16)))
    limit = module.bound(most, *tables)
    assert type(limit) is int
    for drives in pushes(module, tables, most, 200, rng):
        step, largest = recorded(module)
        run(module, step, tables, drives)
        assert largest[0] <= limit


@pytest.mark.parametrize("seed", range(4))
def test_a_drive_that_pushes_comes_near_the_bound(neuron, module, seed):
    """Half of it, with a small threshold and shorter time constants than it takes steps: a bound that is loose would
    cost a model its finest scale. The rest is rounding, thresholds and resets that do not all act together."""
    rng = np.random.default_rng(seed)
    tables = [int(values[0]) for values in random_tables(neuron, seed, 1, longest=4.5).values()]
    tables = [1 if name == "v_th" else table for name, table in zip(module.TABLES, tables, strict=True)]
    most = 50_000 if any(name.startswith("c") for name in module.TABLES) else 2**22  # a sum must fill up to its limit
    limit, reached = module.bound(most, *tables), 0
    for drives in pushes(module, tables, most, 400, rng):
        step, largest = recorded(module)
        run(module, step, tables, drives)
        reached = max(reached, largest[0])
    assert limit / 2 < reached <= limit


# Every c_pull with every leak of w and of v.
ADLIF = [((652, 3000, 32768)[(k + j) % 3], c_ad, p)
         for k, c_ad in enumerate((652, 5000, 32768)) for j, p in enumerate((1, 50, 3000, 32768))]  # fmt: skip


def critical(c_mem, c_ad):
    """With the c_pull from which on a neuron oscillates, where powers of M grow before they decay."""
    return c_mem, c_ad, max(1, round((np.sqrt(65536 - c_mem) - np.sqrt(65536 - c_ad)) ** 2))


@pytest.mark.parametrize("leaks", [*ADLIF, *(critical(*c) for c in ((652, 655), (700, 3000), (5000, 32768)))])
def test_adlifs_sums_are_those_of_exact_powers(leaks):
    """Above the sum of the first 3000 powers, in exact fractions of 2**-32 a step, and at most 1e-8 of the larger of
    the row's two sums more. 652 is the leak of a time constant of 100 steps."""
    c_mem, c_ad, c_pull = leaks
    keep_v, keep_w = 65536 - c_mem, 65536 - c_ad
    exact = {}
    for of, (v, w) in {"(1, p)": (65536, c_pull), "(0, 1)": (0, 65536)}.items():
        sums, scale = [0, 0], 16
        for _ in range(3000):
            for row, x in enumerate((v, w)):
                sums[row] += abs(x) << 300 >> scale
            v = (keep_v * v << 16) - (w << 32)
            w, scale = (keep_w * w << 16) + c_pull * (v >> 16), scale + 32
        exact[of] = sums
    for row, found in enumerate(adlif._sums(c_mem, c_ad, c_pull)):
        sums = [of[row] / 2**300 for of in exact.values()]
        for sum_, bound in zip(sums, found, strict=True):
            assert sum_ < bound <= sum_ + 1e-8 * max(sums)


def test_the_bounds_of_the_largest_population_of_adlif_take_no_minutes():
    """Of different leaks that decay so slowly that no sum ends early: about a second."""
    c_mem, c_ad, c_pull = np.random.default_rng(1).integers(1, (40, 40, 32768), (65535, 3)).T.tolist()
    adlif._sums(1, 1, 1)  # compiles
    began = time.process_time()
    for tables in zip(c_mem, c_ad, c_pull, strict=True):
        adlif.bound(1000, *tables, 900, 10, 5)
    assert time.process_time() - began < 10


@njit
def float_sums(c_mem, c_ad, c_pull, steps):
    """Sums of the first |M**k (1, p)| and |M**k (0, 1)| in doubles: ((of v, of w), (of v, of w))."""
    b, r, p = 1 - c_mem / 65536, 1 - c_ad / 65536, c_pull / 65536
    found = np.zeros((2, 2))
    for column in range(2):
        v, w = (1.0, p) if column == 0 else (0.0, 1.0)
        for _ in range(steps):
            found[column, 0] += abs(v)
            found[column, 1] += abs(w)
            v = b * v - w
            w = r * w + p * v
    return found


@pytest.mark.parametrize(("steps", "c", "most"), [(400, 164, 2), (5000, 13, 2.5), (65536, 1, 4)])
@pytest.mark.parametrize("c_pull", [1, 100, 32768])
def test_adlifs_sums_of_slow_neurons_are_those_of_all_powers_or_a_little_more(steps, c, most, c_pull):
    """steps : the time constant of a leak c. Powers after the first 4096 are bounded by products of the first."""
    for c_mem, c_ad in ((c, c), (c, 32768), (32768, c)):
        exact = float_sums(c_mem, c_ad, c_pull, 40 * steps)
        found = np.array(adlif._sums(c_mem, c_ad, c_pull)).T
        assert (exact * (1 - 1e-9) <= found).all()  # 1e-9: doubles round
        assert (found <= exact + (most - 1) * exact.max(0)).all()


# ---- the same on the reference


def own_step(module):
    """The oracle's form of a neuron, its own step on Python integers: the reference must still do the rest."""
    step = ops.bind(module.step, PLAIN)

    def advance(s, drive, p, i):
        after = step(*(s[name][i] for name in module.STATE), drive, *(p[name][i] for name in module.TABLES))
        after = after if isinstance(after, tuple) else (after,)
        for name, value in zip(module.STATE, after, strict=False):
            s[name][i] = value
        return after[len(module.STATE)] if len(after) > len(module.STATE) else 0

    return module.STATE, advance


def own_reset(s, drive, p, i):
    v = naive.leak(s["v"][i], p["c_mem"][i]) + drive + p["bias"][i]
    z = 1 if v > p["v_th"][i] else 0
    s["v"][i] = v - z * p["v_reset"][i]
    return z


def zero_reset(s, drive, p, i):
    v = naive.leak(s["v"][i], p["c_mem"][i]) + drive + p["bias"][i]
    z = 1 if v > p["v_th"][i] else 0
    s["v"][i] = 0 if z else v
    return z


def model_of(neuron, module, seed):
    """One recurrent layer of the neuron, or a layer with this read-out; 40 neurons or 4 read-outs."""
    layer = tiny_model(seed)
    hidden, out = layer.populations
    if hasattr(module, "drive_for"):
        hidden = Population("hidden", neuron, hidden.n, random_tables(neuron, seed, hidden.n, longest=4.5))
    else:
        out = Population("out", neuron, out.n, random_tables(neuron, seed, out.n))
    return replace(layer, populations=(hidden, out)).check()


def assert_same_run(model, counts):
    oracle, reference, fired = naive.Naive(model), Reference(model), 0
    for row in counts:
        oracle.step(row)
        assert reference.steps(row[None]).digests.tolist() == [oracle.h]
        assert reference.state().tolist() == oracle.words()
        fired += sum(oracle.z["hidden"])
    assert fired > 50


@pytest.mark.parametrize("seed", [1, 2])
def test_the_reference_runs_the_neurons_step(neuron, module, seed, monkeypatch):
    monkeypatch.setitem(naive.NEURONS, neuron, own_step(module))
    model = model_of(neuron, module, seed)
    assert_same_run(model, tiny_counts(model, 40, seed))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_reset_by_a_parameter_of_its_own_and_one_to_zero_are_what_they_say(more_neurons, monkeypatch, seed):
    """Both and cuba_lif in one model: the second oracle is written from words."""
    monkeypatch.setitem(naive.NEURONS, "lif_own_reset", (("v",), own_reset))
    monkeypatch.setitem(naive.NEURONS, "lif_zero_reset", (("v",), zero_reset))
    layer, rng = tiny_model(seed), np.random.default_rng(seed)
    hidden, out = layer.populations
    second = Population("second", "lif_own_reset", 33, random_tables("lif_own_reset", seed, 33, longest=4.5))
    third = Population("third", "lif_zero_reset", 20, random_tables("lif_zero_reset", seed, 20, longest=4.5))
    joined = [(INPUT, "second"), ("hidden", "second"), ("second", "third"), ("third", "hidden"), ("third", "out")]
    sizes = {INPUT: layer.n_in, "hidden": 40, "second": 33, "third": 20, "out": out.n}
    more = [
        Projection(f"more{k}", a, b, CSR.from_dense(rng.integers(-127, 128, (sizes[a], sizes[b]))), 0)
        for k, (a, b) in enumerate(joined)
    ]
    model = replace(layer, populations=(hidden, second, third, out), projections=(*layer.projections, *more)).check()
    assert_same_run(model, tiny_counts(model, 40, seed))


def test_the_compiled_step_is_the_step_of_python(neuron, module):
    rng = np.random.default_rng(1)
    compiled, plain = njit(module.step), ops.bind(module.step, PLAIN)
    for tables in zip(*(values.tolist() for values in random_tables(neuron, 1, 200).values()), strict=True):
        state = rng.integers(-(2**20), 2**20, len(module.STATE) + 1).tolist()
        assert compiled(*state, *tables) == plain(*state, *tables)


CUBA = (Path(neurons.__path__[0]) / "cuba_lif.py").read_text()
MISTAKES = {
    # Arguments are passed by position: another neuron, in silence.
    "swapped": ("i_syn, v, drive, c_syn, c_mem,", "i_syn, v, drive, c_mem, c_syn,", "its function takes"),
    # Kernels store a bit of the spike, the ONNX graph its value.
    "twice": ("    kick = ", "    z = mul(z, 2)\n    kick = ", "spike z is made by mul"),
    "unknown_operation": ("v = leak(v,", "v = decay(v,", "'decay' is not an operation"),
    "negative_shift": ("    kick = ", "    v = shift_round(v, -3)\n    kick = ", "ValueError: negative shift"),
    "name_in_the_file": ("STATE = (", "STATE = FOO + (", "FILE:29: NameError: name 'FOO' is not defined"),
    "syntax": ("def step(", "def step)(", "FILE:45: SyntaxError: unmatched ')'"),
    "imports": ("import numpy", "import nunpy", "FILE:10: ModuleNotFoundError: No module named 'nunpy'"),
    "name_in_bound": ("a = drive +", "a = drve +", "FILE:71: NameError: name 'drve' is not defined"),
    "name_in_drive_for": ("current = 1 - np", "current = 1 - npp", "FILE:21: NameError: name 'npp' is not defined"),
    "key_of_scale": ("scale=_potential", 'scale=lambda dt, p: p["tau"]', "FILE:35: KeyError: 'tau'"),
    "float_bound": ("* 65536 // c_mem)", "* 65536 / c_mem)", ", of type float"),
    "no_bound": ("    return -(-(s + 1)", "    -(-(s + 1)", "bound gives None, of type NoneType"),
    "low_bound": ("return -(-(s + 1) * 65536 // c_mem) + abs(v_th)", "return 9", "a step from rest reaches"),
    "bound_is_a_number": ("def bound(", "bound = 3\n\n\ndef unused(", "bound is a int"),
    "no_drive_for": ("def drive_for(", "def drive(", "spikes, but has no drive_for"),
    "drive_of_a_number": ("return current, current *", "return 0.5, current *", "drive_for gives (0.5, array"),
    "state_is_text": ('STATE = ("i_syn", "v")', 'STATE = "i_syn, v"', "STATE is a str"),
    "table_is_text": ('LEAK("tau_syn")', '"tau_syn"', "c_syn of TABLES is no Stored"),
    "table_of_nothing": ('LEAK("tau_syn")', 'LEAK("tau_sin")', "PARAMETERS lacks 'tau_sin'"),
    "parameter_is_a_number": ('time_constant("time constant of the membrane potential", 0.2)', "0.2", "tau_mem of PAR"),
    "no_threshold": ('"v_th": Parameter(', '"threshold": Parameter(', "PARAMETERS lacks 'v_th'"),
    "limits": ("def limits(most, c_syn,", "def limits(most, c_sin,", "limits takes or returns something else"),
    "reachable": ("def limits(most, c_syn,", "def reachable(drive, c_sin,", "reachable takes (drive, c_sin,"),
    "empty": (CUBA, "", "has no STATE"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_neurons_file_is_refused_before_training(tmp_path, monkeypatch, capsys, mistake):
    old, new, said = MISTAKES[mistake]
    name, folder = f"wrong_{mistake}", tmp_path / "more"
    source = CUBA.replace(old, new, 1).replace("leak, sub\n", "leak, mul, shift_round, sub\n")
    assert old in CUBA
    folder.mkdir()
    (folder / f"{name}.py").write_text(source)
    monkeypatch.setattr(neurons, "__path__", [*neurons.__path__, str(folder)])
    path = tmp_path / "c.toml"
    path.write_text(f'[data]\nlimit = 1\n[network]\nneurons = 8\nneuron = "{name}"\n[prune]\nmethod = "random"\n')
    assert main(["prune", str(path), "-o", str(tmp_path / "p.safetensors")]) == 2
    error = capsys.readouterr().err
    assert said.replace("FILE", f"{name}.py") in error
    assert name in error and len(error.splitlines()) == 2
    assert not (tmp_path / "p.safetensors").exists()


READOUTS = {
    "another_sum": ("    y = add(y, drive)\n", "    y = add(y, drive)\n    y = add(y, drive)\n"),
    "rectified": ("    return y\n", "    y = clamp(y, 0, 1000000)\n    return y\n"),
    "a_fraction": ('"c": LEAK("tau")', '"c": SHARE("tau")'),
    "another_table": ('"bias": SCALED("bias")}', '"bias": SCALED("bias"), "more": SCALED("bias")}'),
}


@pytest.mark.parametrize("form", READOUTS)
def test_a_readout_that_training_would_run_as_another_is_refused(tmp_path, monkeypatch, form):
    old, new = READOUTS[form]
    source = (Path(neurons.__path__[0]) / "li.py").read_text().replace("ops import add,", "ops import add, clamp,")
    source = source.replace("import LEAK, SCALED,", "import LEAK, SCALED, SHARE,").replace(old, new, 1)
    if form == "another_table":
        source = source.replace("c, bias)", "c, bias, more)")
    (tmp_path / f"{form}.py").write_text(source)
    monkeypatch.setattr(neurons, "__path__", [*neurons.__path__, str(tmp_path)])
    assert not hasattr(neuron_module(form), "drive_for")  # an integer model may have it
    with pytest.raises(ConfigError, match=f"networks cannot be trained with the read-out {form}"):
        NetworkSettings(readout=form)


def test_limits_of_two_variables_together_are_for_two_variables(monkeypatch):
    one = plugins.get("lnp_edge.neurons", "mean")
    monkeypatch.setattr(one, "reachable", lambda drive, bias: (1, 1, 0, 1, 1), raising=False)
    with pytest.raises(ConfigError, match="reachable is for two state variables, not 1"):
        neuron_module("mean")
