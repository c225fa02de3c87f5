"""Small random models that pass QuantizedModel.check and fire, and what the oracle says of them."""

from dataclasses import replace
from functools import cache, partial

import numpy as np
from naive import ENCODERS, FRONT_ENDS, NEURONS, Naive

from lnp_edge.base.errors import ModelError
from lnp_edge.spec import layout, plugins
from lnp_edge.spec.frontend import FrontEnd, inputs
from lnp_edge.spec.model import CSR, INPUT, LARGEST, Forecast, Population, Projection, QuantizedModel


def tiny_model(seed=1, n=40, n_in=3, n_out=4, density=0.2) -> QuantizedModel:
    """One recurrent layer with random arrays; n = 40 leaves unused bits in the second word of z."""
    rng = np.random.default_rng(seed)
    params = {
        "c_syn": rng.integers(4000, 32769, n, dtype=np.int32),
        "c_mem": rng.integers(2000, 32769, n, dtype=np.int32),
        "v_th": rng.integers(1500, 4000, n, dtype=np.int32),
        "bias": rng.integers(-30, 60, n, dtype=np.int32),
    }
    projections = (
        Projection("in", INPUT, "hidden", _sparse(rng, n_in, n, 0.5, 40), 0),
        Projection("rec", "hidden", "hidden", _sparse(rng, n, n, density, 127), 3),
        Projection("out", "hidden", "out", _sparse(rng, n, n_out, 0.9, 127), 5),
    )
    out = {
        "c": rng.integers(500, 32769, n_out, dtype=np.int32),
        "bias": rng.integers(-500, 500, n_out, dtype=np.int32),
    }
    populations = (Population("hidden", "cuba_lif", n, params), Population("out", "li", n_out, out))
    return _model(rng, populations, projections, n_in)


def tiny_blocks(seed=1, n=38, n_in=3, share=0.3, holes=0.2) -> QuantizedModel:
    """tiny_model whose neurons are joined in aligned blocks of four targets, a share of all, some weights in them 0."""
    model, rng = tiny_model(seed, n, n_in), np.random.default_rng([seed, 13])
    there = np.repeat(rng.random((n, -(-n // 4))) < share, 4, 1)[:, :n] & (rng.random((n, n)) >= holes)
    w = np.where(there, rng.integers(1, 128, (n, n)) * rng.choice((-1, 1), (n, n)), 0)
    return with_rec(model, w)


def tiny_nibbles(seed=1) -> QuantizedModel:
    """tiny_blocks with weights of 4 bits between its neurons."""
    model = tiny_blocks(seed)
    w = model.projection("rec").w.dense()
    return with_rec(model, np.sign(w) * (np.abs(w) // 19 + 1), bits=4, shift=7)


def with_rec(model, w, **changes) -> QuantizedModel:
    """The layer with other weights between its neurons."""
    rec = replace(model.projection("rec"), w=CSR.from_dense(w.astype(np.int32)), **changes)
    return replace(model, projections=tuple(rec if p.name == "rec" else p for p in model.projections)).check()


def tiny_stack(seed=1, n_in=3, n_out=4) -> QuantizedModel:
    """Three layers, the first without recurrence, adaptive and other neurons, weights of 4, 8 and 16 bits, a skip from
    the input to the read-out, and spikes that go back from the last layer to the second."""
    rng = np.random.default_rng([seed, 7])
    sizes = {"first": 33, "second": 40, "third": 20}
    cuba = {
        name: {
            "c_syn": rng.integers(4000, 32769, n, dtype=np.int32),
            "c_mem": rng.integers(2000, 32769, n, dtype=np.int32),
            "v_th": rng.integers(1500, 4000, n, dtype=np.int32),
            "bias": rng.integers(-30, 60, n, dtype=np.int32),
        }
        for name, n in sizes.items()
    }
    n = sizes["second"]
    adaptive = {
        "c_mem": rng.integers(2000, 32769, n, dtype=np.int32),
        "c_ad": rng.integers(2000, 32769, n, dtype=np.int32),
        "c_pull": rng.integers(1, 6000, n, dtype=np.int32),
        "v_th": rng.integers(800, 2000, n, dtype=np.int32),
        "jump": rng.integers(0, 400, n, dtype=np.int32),
        "bias": rng.integers(-30, 60, n, dtype=np.int32),
    }
    out = {
        "c": rng.integers(500, 32769, n_out, dtype=np.int32),
        "bias": rng.integers(-500, 500, n_out, dtype=np.int32),
    }
    populations = (
        Population("first", "cuba_lif", sizes["first"], cuba["first"]),
        Population("second", "adlif", n, adaptive),
        Population("third", "cuba_lif", sizes["third"], cuba["third"]),
        Population("out", "li", n_out, out),
    )
    sizes |= {INPUT: n_in, "out": n_out}

    def joined(source, target, density, bits, shift):
        w = _sparse(rng, sizes[source], sizes[target], density, LARGEST[bits])
        return Projection(f"{source}_{target}", source, target, w, shift, bits)

    projections = (
        joined(INPUT, "first", 0.5, 8, 0),
        joined("first", "second", 0.5, 4, 5),
        joined("second", "second", 0.2, 8, 2),
        joined("third", "second", 0.2, 8, 1),
        joined("second", "third", 0.3, 16, 0),
        joined("third", "third", 0.2, 8, 3),
        joined("third", "out", 0.9, 8, 5),
        joined("first", "out", 0.3, 16, 0),
        joined(INPUT, "out", 0.7, 4, 2),
    )
    return _model(rng, populations, projections, n_in)


def _model(rng, populations, projections, n_in) -> QuantizedModel:
    encoder_params = {
        "offset": rng.integers(-200, 200, n_in, dtype=np.int32),
        "gain": rng.integers(100, 2000, n_in, dtype=np.int32),
        "shift": rng.integers(8, 15, n_in, dtype=np.int32),
    }
    model = QuantizedModel(
        encoder="affine",
        encoder_params=encoder_params,
        populations=populations,
        projections=projections,
        dt=0.01,
        window=20,
        hop=10,
        channels=tuple(f"c{k}" for k in range(n_in)),
        classes=tuple(f"class {o}" for o in range(populations[-1].n)),
    )
    return model.check()


def tiny_loop(seed=1, n=40, n_in=3) -> QuantizedModel:
    """One that forecasts every channel a step ahead, by some hundred counts."""
    forecast = Forecast(tuple(range(n_in)), 1, tuple(0.01 / (k + 3) for k in range(n_in)))
    names = tuple(f"c{k} in 0.01 s" for k in range(n_in))
    return replace(tiny_model(seed, n, n_in, n_in), forecast=forecast, classes=names).check()


@cache
def random_model(seed) -> QuantizedModel:
    """Any structure of the neurons and encoders that the oracle knows: 1 to 4 populations that spike, joined at random
    and some of them twice, some matrices empty.

    Half of the models have one neuron, weights of 4 and 8 bits and the encoder affine, the others all neurons, weights
    of 16 bits too and any encoder: few combinations, as the reference compiles a kernel for each in seconds.
    """
    rng = np.random.default_rng([seed, 11])
    spiking, wide = known_neurons(spikes=True), bool(rng.integers(2))
    if not wide:
        spiking = [str(rng.choice(spiking))]
    n_in, inner = int(rng.integers(1, 5)), [f"p{k}" for k in range(rng.integers(min(len(spiking), 4), 5))]
    sizes = {name: int(rng.choice([1, 2, 31, 32, 33, 40, 64, 65])) for name in inner} | {"out": int(rng.integers(1, 6))}
    neurons = {name: spiking[k % len(spiking)] for k, name in enumerate(inner)}
    neurons["out"] = str(rng.choice(known_neurons(spikes=False)))
    projections = []
    for target, post in sizes.items():
        for source, pre in [(INPUT, n_in), *((name, sizes[name]) for name in inner)]:
            for _ in range(int(rng.choice([0, 1, 1, 2]))):
                bits, density = int(rng.choice(list(LARGEST)[: 2 + wide])), rng.choice([0.0, 0.1, 0.5, 1.0])
                w, shift = _sparse(rng, pre, post, density, LARGEST[bits]), int(rng.integers(0, 17))
                projections.append(Projection(f"w{len(projections)}", source, target, w, shift, bits))
    rng.shuffle(projections)
    encoder = str(rng.choice(sorted(set(plugins.names("lnp_edge.encoders")) & set(ENCODERS)))) if wide else "affine"
    draws, longest = {name: rng.integers(2**32) for name in sizes}, rng.choice([3, 9, 15])
    model = QuantizedModel(
        encoder=encoder,
        encoder_params=random_encoder_params(encoder, rng, n_in),
        populations=(),
        projections=(),
        dt=0.01,
        window=20,
        hop=10,
        channels=tuple(f"c{k}" for k in range(n_in)),
        classes=tuple(f"class {o}" for o in range(sizes["out"])),
    )
    for ease in range(0, 48, 4):  # until it can be proved: shorter time constants and smaller shifts
        tables = {name: random_tables(neurons[name], draws[name], n, longest * 0.95**ease) for name, n in sizes.items()}
        populations = tuple(Population(name, neurons[name], n, tables[name]) for name, n in sizes.items())
        shifted = tuple(replace(p, shift=max(0, p.shift - ease)) for p in projections)
        try:
            return replace(model, populations=populations, projections=shifted).check()
        except ModelError as e:
            refused = e
    raise refused


def known_neurons(spikes):
    """Names of the neurons that are there and that the oracle knows."""
    found = {name: plugins.get("lnp_edge.neurons", name) for name in plugins.names("lnp_edge.neurons")}
    return [name for name, module in found.items() if name in NEURONS and hasattr(module, "drive_for") == spikes]


def random_tables(neuron, seed, n, longest=9.0):
    """Any TABLES of a neuron, {name: int32 [n]}. longest : leaks go from 1/2 down to 2**-longest of it, so that of 15
    the slowest neurons lose 1/65536 a step"""
    rng, found = np.random.default_rng(seed), {}
    for name, stored in plugins.get("lnp_edge.neurons", neuron).TABLES.items():
        if stored.form in ("leak", "share"):
            values = np.exp2(15 - longest * rng.random(n))
        elif stored.low > 0:
            values = np.exp2(16 * rng.random(n))
        else:
            values = rng.integers(-400, 500, n)
        found[name] = np.clip(values, stored.low, stored.high).astype(np.int32)
    return found


def random_encoder_params(encoder, rng, n_in):
    """Any PARAMS of an encoder: those of affine such that a sensor's counts give more than the two limits."""
    usual = {"offset": (-200, 200), "gain": (100, 2000), "shift": (8, 14)}
    ranges = plugins.get("lnp_edge.encoders", encoder).PARAMS
    return {
        name: rng.integers(low, high + 1, n_in, dtype=np.int32)
        for name, (low, high) in ((name, usual.get(name, ranges[name])) for name in ranges)
    }


def with_entry(model, table, k, value) -> QuantizedModel:
    """The model with another value in entry k of one table of layout.tables; not checked."""

    def other(name, values):
        if name != table:
            return values
        changed = values.copy()
        assert changed[k] != value
        changed[k] = value
        return changed

    def of_matrix(p):
        kind, dense = layout.of(model, p), p.w.dense()
        for part in set(kind.tables(model, p)) - {"indptr", "indices", "data"}:
            if table == f"w_{p.name}_{part}":
                for pre, post, weight in kind.synapses(p, part, k, value):
                    if part == "blocks":  # whose four weights go to other targets
                        weight, dense[pre, post], post = dense[pre, post], 0, 4 * value + post % 4
                    dense[pre, post] = weight
                assert (dense != p.w.dense()).any()
                return vars(CSR.from_dense(dense))
        return {part: other(f"w_{p.name}_{part}", getattr(p.w, part)) for part in ("indptr", "indices", "data")}

    def of_params(p):
        stored = p.module.TABLES
        # What a device holds of a leak is 2**16 less it, and back by the same rule.
        held = {name: other(f"{p.name}_{name}", stored[name].table(v).astype(np.int64)) for name, v in p.params.items()}
        return {name: stored[name].table(v).astype(np.int32) for name, v in held.items()}

    front = tuple(tuple(other(f"front_{name}", v).tolist()) for name, v in model.front.tables.items())
    return replace(
        model,
        front=replace(model.front, params=front),
        encoder_params={name: other(f"encoder_{name}", v) for name, v in model.encoder_params.items()},
        populations=tuple(replace(p, params=of_params(p)) for p in model.populations),
        projections=tuple(replace(p, w=replace(p.w, **of_matrix(p))) for p in model.projections),
    )


def tiny_counts(model, steps, seed=2):
    """Sensor counts that drive it, int16 [steps, n_in], extremes included."""
    rng = np.random.default_rng(seed)
    counts = rng.normal(0, 600, (steps, model.n_in)).clip(-32768, 32767).astype(np.int16)
    counts[rng.random(counts.shape) < 0.02] = 32767
    counts[rng.random(counts.shape) < 0.02] = -32768
    return counts


def _sparse(rng, n_pre, n_post, density, most):
    w = rng.integers(1, most + 1, (n_pre, n_post)) * rng.choice([-1, 1], (n_pre, n_post))
    return CSR.from_dense(np.where(rng.random((n_pre, n_post)) < density, w, 0))


def tiny_front(kind, frame, seed=1) -> QuantizedModel:
    """tiny_stack behind a front end, with an encoder for the features of tiny_counts."""
    front = FrontEnd(kind, frame)
    model = replace(tiny_stack(seed, n_in=len(inputs(front, "abc"))), front=front, channels=("a", "b", "c"))
    counts = tiny_counts(model, 100).reshape(-1, 3)
    front = front.fit(counts // np.array([9, 1, 3], np.int16))  # other parameters of each channel
    fitted = plugins.get("lnp_edge.encoders", "affine").fit(front.run(counts))
    return replace(model, front=front, encoder_params=fitted, window=20 * frame, hop=10 * frame + 1).check()


MODELS = {"layer": tiny_model, "stack": tiny_stack}
# Behind a small frame of every front end that the oracle knows.
FRONTS = {
    f"{kind} of 4": partial(tiny_front, kind, 4)
    for kind in plugins.names("lnp_edge.frontends") if kind in FRONT_ENDS
}  # fmt: skip
ALL = MODELS | FRONTS | {"blocks": tiny_blocks, "nibbles": tiny_nibbles}


@cache
def oracle(steps=150, kind="layer", **model):
    """(digests, state words, y) of the slow reference."""
    naive = Naive(ALL[kind](**model))
    digests = []
    for row in tiny_counts(naive.m, steps):
        naive.step(row)
        digests.append(naive.h)
    return digests, naive.words(), naive.y
