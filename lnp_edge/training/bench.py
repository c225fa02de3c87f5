"""Compare the time of a training step with that of other libraries.

A step is forward pass, loss, back-propagation through time and Adam. All implementations do the
same work on the same network and inputs with one thread. They run in turns in one process, so that
other load on the machine affects all alike. Times are CPU times, the median over the rounds.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import torch

from lnp_edge.config import LayerSettings, NetworkSettings
from lnp_edge.network import Network
from lnp_edge.network.draw import drawn, random_network
from lnp_edge.training import bench_peers
from lnp_edge.training.adamw import AdamW
from lnp_edge.training.bench_peers import Built, ReadOut, decays, parameter
from lnp_edge.training.kernels.fused import bytes_a_step
from lnp_edge.training.layer import SLOPE
from lnp_edge.training.loop import Trainable
from lnp_edge.training.run import FusedLayer, runner

BATCH, STEPS, INPUTS, CLASSES = 64, 100, 16, 7
SIZES, ROUNDS = (128, 256, 512), 11
SPARSE, DENSE = 0.1, 1.0
AIMS = {SPARSE: 6.0, DENSE: 1.5}  # times as fast as the fastest other one, at the sizes of AIMED
AIMED = (256, 512)
STACK_AIM = 4.0  # times as fast as a plain loop, for two layers
OURS, ADAPTIVE = "lnp-edge", "lnp-edge, adlif"  # other libraries have no such neuron


@dataclass
class Row:
    """One implementation, with masked or full w_rec. densities : those that its time applies to"""

    name: str
    densities: tuple[float, ...]
    n: int
    ms: float = float("nan")
    kept: int = 0  # bytes between the forward and the backward pass
    failed: str = ""


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (v,) = ctx.saved_tensors
        return grad / (1 + SLOPE * v.abs()) ** 2


def plain(network: Network, x: torch.Tensor) -> Built:
    """The layer as a plain PyTorch loop; w_rec is dense, and masked unless it is full."""
    own = {name: parameter(a) for name, a in decays(network).items()}
    dense = network.w_rec.toarray()
    mask = torch.as_tensor(dense != 0, dtype=torch.float32)
    full = network.w_rec.nnz >= network.n * (network.n - 1)
    w_rec, w_in, bias = parameter(dense), parameter(network.w_in), parameter(network.params["bias"])
    read_out = ReadOut(network, x.shape[1])

    def run() -> torch.Tensor:
        w = w_rec if full else w_rec * mask
        i_syn = v = z = x.new_zeros(len(x), network.n)
        spikes = []
        for drive in (x @ w_in + bias).unbind(1):
            i_syn = torch.addmm(drive, z, w) + own["alpha"] * i_syn
            v = own["beta"] * v + i_syn
            z = _Spike.apply(v - 1)
            v = v - z.detach()
            spikes.append(z)
        return read_out(spikes)

    return [w_rec, w_in, bias, *own.values(), *read_out.parameters()], run


def sparse_csr(network: Network, x: torch.Tensor) -> Built:
    """The same loop with torch's CSR matrix. Arrays are [N, B]: the sparse factor comes first."""
    own = {name: parameter(a[:, None]) for name, a in decays(network).items()}
    by_target = network.w_rec.T.tocsr()
    into, pre = (torch.from_numpy(a.astype(np.int64)) for a in (by_target.indptr, by_target.indices))
    w_rec, w_in, bias = parameter(by_target.data), parameter(network.w_in), parameter(network.params["bias"][:, None])
    read_out, inputs = ReadOut(network, x.shape[1]), x.permute(1, 2, 0).contiguous()

    def run() -> torch.Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "in beta state"
            w = torch.sparse_csr_tensor(into, pre, w_rec, (network.n, network.n), check_invariants=False)
        i_syn = v = z = x.new_zeros(network.n, len(x))
        spikes = []
        for drive in (w_in.T @ inputs + bias).unbind(0):
            i_syn = torch.sparse.addmm(drive, w, z) + own["alpha"] * i_syn
            v = own["beta"] * v + i_syn
            z = _Spike.apply(v - 1)
            v = v - z.detach()
            spikes.append(z)
        return read_out(torch.stack(spikes).transpose(1, 2))

    return [w_rec, w_in, bias, *own.values(), *read_out.parameters()], run


def ours(network: Network, x: torch.Tensor) -> Built:
    """The implementation of lnp train."""
    model = Trainable(network)
    run = runner(network)
    for leaf in model.leaf.values():
        leaf.requires_grad_()
    return list(model.leaf.values()), lambda: run(model.parameters(model.leaf), x)[:, -1]


def plain_stack(network: Network, x: torch.Tensor) -> Built:
    """Two recurrent layers as a plain PyTorch loop, with dense, masked matrices between layers."""
    (first, a), (second, b) = network.parts()
    dense = network.w_rec.toarray()
    pairs = {"own": dense[a, a], "onwards": dense[a, b], "last": dense[b, b]}
    masks = {name: torch.as_tensor(w != 0, dtype=torch.float32) for name, w in pairs.items()}
    weights = {name: parameter(w) for name, w in pairs.items()}
    names = ("tau_syn", "tau_mem")
    decay = [[parameter(np.exp(-network.dt / part.params[name])) for name in names] for part in (first, second)]
    w_in, bias = parameter(network.w_in[:, a]), [parameter(part.params["bias"]) for part in (first, second)]
    read_out = ReadOut(replace(network, w_out=network.w_out[b]), x.shape[1])

    def run() -> torch.Tensor:
        w = {name: weights[name] * mask for name, mask in masks.items()}
        i, v, z = ([x.new_zeros(len(x), part.n) for part in (first, second)] for _ in range(3))
        spikes = []
        for drive in (x @ w_in + bias[0]).unbind(1):
            for k in (0, 1):
                arrived = torch.addmm(drive if k == 0 else bias[1], z[k], w["last" if k else "own"])
                if k:
                    arrived = torch.addmm(arrived, z[0], w["onwards"])
                i[k] = arrived + decay[k][0] * i[k]
                v[k] = decay[k][1] * v[k] + i[k]
                z[k] = _Spike.apply(v[k] - 1)
                v[k] = v[k] - z[k].detach()
            spikes.append(z[1])
        return read_out(spikes)

    return [*weights.values(), *decay[0], *decay[1], w_in, *bias, *read_out.parameters()], run


def stack(n: int, rounds: int) -> dict[str, float]:
    """Median CPU ms per training step of two layers of n neurons: ours and that of plain_stack."""
    torch.set_num_threads(1)
    layers = (LayerSettings(n, "cuba_lif", SPARSE), LayerSettings(n, "cuba_lif", SPARSE))
    network = drawn(NetworkSettings(layer=layers), INPUTS, CLASSES, 0.04, np.random.default_rng(1))
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((BATCH, STEPS, INPUTS)).astype(np.float32))
    steps = {name: _training_step(*build(network, x)) for name, build in (("ms", ours), ("plain_ms", plain_stack))}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(rounds + 1):
        for name, step in steps.items():
            begin = time.process_time()
            step()
            if k:  # the first compiles
                times[name].append(1e3 * (time.process_time() - begin))
    found = {name: median(each) for name, each in times.items()}
    return found | {"neurons": n, "times": found["plain_ms"] / found["ms"], "aim": STACK_AIM}


def start_network(n: int, density: float, neuron: str = "cuba_lif") -> Network:
    return random_network(n, INPUTS, CLASSES, 0.04, density, np.random.default_rng(1), neuron)


def measure(
    sizes: tuple[int, ...] = SIZES, rounds: int = ROUNDS, peers: bool = True,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> list[Row]:  # fmt: skip
    """Measure all implementations at all sizes; the row of a peer that cannot run says why."""
    torch.set_num_threads(1)
    found: list[Row] = []
    broken = {name: bench_peers.install(name) for name in bench_peers.PACKAGES} if peers else {}
    total = len(sizes) * rounds
    for n in sizes:
        x = torch.from_numpy(np.random.default_rng(2).standard_normal((BATCH, STEPS, INPUTS)).astype(np.float32))
        rows = [Row(name, (SPARSE, DENSE), n, failed=why) for name, why in broken.items()]
        rows += [Row("plain PyTorch", (share,), n) for share in (SPARSE, DENSE)]
        rows += [Row("torch sparse CSR", (SPARSE,), n)]
        rows += [Row(name, (share,), n) for name in (OURS, ADAPTIVE) for share in (SPARSE, DENSE)]
        build = bench_peers.BUILD | {"plain PyTorch": plain, "torch sparse CSR": sparse_csr, OURS: ours, ADAPTIVE: ours}
        steps: list[tuple[Row, Callable[[], None], list[float]]] = []
        for row in rows:
            if row.failed:
                continue
            neuron = "adlif" if row.name == ADAPTIVE else "cuba_lif"
            network = start_network(n, DENSE if DENSE in row.densities else SPARSE, neuron)
            try:
                step = _training_step(*build[row.name](network, x))
                row.kept = _kept(step)
                step()  # warm
                steps.append((row, step, []))
            except Exception as e:
                if row.name not in broken:
                    raise
                row.failed = f"{type(e).__name__}: {e}"  # an error of the other library
            if row.name in (OURS, ADAPTIVE):
                work = FusedLayer(network, 0).work
                row.kept = bytes_a_step(work.wiring, work.neuron, BATCH, STEPS)
        for k in range(rounds):
            progress(sizes.index(n) * rounds + k, total, f"N={n}")
            for _, step, times in steps:
                begin = time.process_time()
                step()
                times.append(time.process_time() - begin)
        for row, _, times in steps:
            row.ms = 1e3 * median(times)
        found += rows
    progress(total, total, "")
    return found


def _training_step(parameters: list[torch.Tensor], run: Callable[[], torch.Tensor]) -> Callable[[], None]:
    optimiser = AdamW(parameters, [], 0.0)
    labels = torch.arange(BATCH) % CLASSES

    def step() -> None:
        torch.nn.functional.cross_entropy(run(), labels).backward()
        optimiser.step(1e-4)

    return step


def _kept(step: Callable[[], None]) -> int:
    """The bytes of the distinct tensors that autograd saves in a step."""
    seen: dict[int, int] = {}

    def pack(a: torch.Tensor) -> torch.Tensor:
        if a.layout == torch.strided:
            seen[a.untyped_storage().data_ptr()] = a.untyped_storage().nbytes()
        return a

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda a: a):
        step()
    return sum(seen.values())


def ratios(rows: list[Row]) -> list[dict[str, Any]]:
    """Our time, that of the fastest other and their ratio, with the aim, by density and size.

    "adaptive" : adlif's time in units of cuba_lif's
    """
    found = []
    for share, aim in AIMS.items():
        for n in sorted({row.n for row in rows}):
            here = [row for row in rows if row.n == n and share in row.densities and not row.failed]
            mine = next(row for row in here if row.name == OURS)
            adaptive = next(row for row in here if row.name == ADAPTIVE)
            best = min((row for row in here if row not in (mine, adaptive)), key=lambda row: row.ms)
            wanted = aim if n in AIMED else None
            times = best.ms / mine.ms
            met = None if wanted is None else times >= wanted
            found.append(
                {"density": share, "neurons": n, "ms": mine.ms, "best": best.name, "best_ms": best.ms}
                | {"times": times, "aim": wanted, "met": met, "adaptive": adaptive.ms / mine.ms}
            )
    return found
