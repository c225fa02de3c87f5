"""Measure the reference: the first call, a neuron-step and a synaptic event, beside the aims."""

import argparse
import json
import time
from dataclasses import replace

import numpy as np

from lnp_edge.console import out

HELP = "measure the speed of the reference"
EXAMPLE = "  lnp bench"
STEPS, ROUNDS = 4000, 15
AIMS = {"first_call_s": 2.0, "ns_per_neuron_step": 5.0, "ns_per_event": 1.5}  # the first call: from the cache


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    found = measure()
    if args.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            aim = f"   aim: at most {AIMS[key]:g}" if key in AIMS else ""
            out.print(f"{key:<28}{value:<8.3g}{aim}")
    return 0


def measure() -> dict[str, float]:
    """ns a neuron-step (a network without synapses) and ns a synaptic event (what the synapses add)."""
    from lnp_edge.spec.model import CSR, QuantizedModel
    from runtime.reference import Reference

    n, density, rng = 256, 0.1, np.random.default_rng(1)

    def matrix(pre: int, post: int, share: float) -> CSR:
        return CSR.from_dense(rng.integers(-127, 128, (pre, post)) * (rng.random((pre, post)) < share))

    def full(value: int, count: int) -> np.ndarray:
        return np.full(count, value, np.int32)

    model = QuantizedModel(
        neuron="cuba_lif", encoder="affine",
        params={"c_syn": full(9000, n), "c_mem": full(4000, n), "v_th": full(9000, n), "bias": full(0, n)},
        w_in=matrix(6, n, 1.0), w_rec=matrix(n, n, density), w_out=matrix(n, 7, 1.0),
        shift_in=0, shift_rec=2, shift_out=2, c_out=full(600, 7), bias_out=full(0, 7),
        encoder_params={"offset": full(0, 6), "gain": full(256, 6), "shift": full(8, 6)},
        dt=0.01, window=100, hop=50, channels=tuple("abcdef"), classes=tuple("0123456"),
    ).check()  # fmt: skip
    counts = rng.integers(-60, 60, (STEPS, 6)).astype(np.int16)
    silent, busy = (
        Reference(replace(model, w_in=matrix(6, n, 0), w_rec=matrix(n, n, 0), w_out=matrix(n, 7, 0))),
        Reference(model),
    )
    begin = time.perf_counter()
    busy.steps(counts[:1])
    first_call = time.perf_counter() - begin
    events = _events(busy, model, counts[:500])
    best = {silent: np.inf, busy: np.inf}
    for _ in range(ROUNDS):
        for runner in best:
            begin = time.perf_counter()
            runner.steps(counts, digests=False)
            best[runner] = min(best[runner], (time.perf_counter() - begin) / STEPS)
    return {
        "neurons": n,
        "first_call_s": first_call,
        "events_per_step": events,
        "ns_per_neuron_step": best[silent] / n * 1e9,
        "ns_per_event": (best[busy] - best[silent]) / events * 1e9,
        "us_per_step": best[busy] * 1e6,
    }


def _events(reference, model, counts: np.ndarray) -> float:
    """Synaptic operations a step: input synapses plus the fan-out of each spike."""
    fan_out = np.diff(model.w_rec.indptr) + np.diff(model.w_out.indptr)
    reference.reset()
    spikes = 0.0
    for row in counts:
        reference.steps(row[None], digests=False)
        words = reference.state()[len(model.state_fields) * model.n :][: model.z_words]
        fired = np.unpackbits(words.view(np.uint8), bitorder="little")[: model.n]
        spikes += float(fan_out @ fired)
    return model.w_in.nnz + spikes / len(counts)
