"""The same layer in other libraries, installed into a separate cache folder for lnp bench --train.

Every builder takes (network, x [B, T, C]) and returns its parameters and the function that computes
the read-out y [B, O] after the last step. Each library is used as its documentation shows, with its
fastest options: one matrix product for the input currents if possible, cheap surrogates, no
records.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lnp_edge.network import Network

# What each library needs besides torch and numpy. Their declared dependencies are not installed:
# they include torch with CUDA.
PACKAGES = {
    "snnTorch RSynaptic": ("snntorch==1.0.0",),
    "Norse LIFRecurrent": ("norse==1.1.0", "nir==1.0.8", "nirtorch==2.6", "h5py==3.16.0"),
    "SpikingJelly CUBALIF": ("spikingjelly==2.0.0", "loguru==0.7.3", "tqdm==4.70.1"),
}
DOWNLOAD = "about 10 MB"
Built = tuple[list[torch.Tensor], Callable[[], torch.Tensor]]


def folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lnp-edge" / "peers"


def install(name: str) -> str:
    """Put a library at the end of sys.path, and download it first if needed; returns "" or why not.

    Its files are outside our environment, but it uses our torch.
    """
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    place = folder() / "-".join([PACKAGES[name][0].replace("==", "-"), python])
    if not place.exists():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent) as made:
                options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--target", f"{made}/all"]
                command = [sys.executable, "-m", "pip", "install", *options, *PACKAGES[name]]
                done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
                if done.returncode != 0:
                    return (done.stderr.strip().splitlines() or ["pip failed"])[-1]
                os.replace(f"{made}/all", place)
        except OSError as e:
            return str(e)
    if str(place) not in sys.path:
        sys.path.append(str(place))
    return ""


class ReadOut(nn.Module):
    """Leaky outputs after the last step, computed at once: y = sum_t gamma^(T-1-t) (W z_t + b)."""

    def __init__(self, network: Network, steps: int):
        super().__init__()
        self.w, self.b = parameter(network.w_out), parameter(network.bias_out)
        self.gamma = parameter(np.exp(-network.dt / network.tau_out))
        self.ages = torch.arange(steps - 1, -1, -1.0)[:, None]

    def forward(self, spikes: list[torch.Tensor] | torch.Tensor) -> torch.Tensor:
        z = torch.stack(spikes) if isinstance(spikes, list) else spikes  # [T, B, N]
        return torch.einsum("tbo,to->bo", z @ self.w + self.b, self.gamma**self.ages)


def parameter(a) -> nn.Parameter:
    return nn.Parameter(torch.as_tensor(a, dtype=torch.float32).clone().contiguous())


def decays(network: Network) -> dict[str, torch.Tensor]:
    own = network.params
    taus = {"alpha": own["tau_syn"], "beta": own["tau_mem"]}
    return {name: torch.exp(-network.dt / torch.as_tensor(tau, dtype=torch.float32)) for name, tau in taus.items()}


def snntorch(network: Network, x: torch.Tensor) -> Built:
    module = import_module("snntorch")
    surrogate = import_module("snntorch.surrogate")
    own = decays(network)
    cell = module.RSynaptic(
        own["alpha"], own["beta"], linear_features=network.n, spike_grad=surrogate.fast_sigmoid(5),
        learn_alpha=True, learn_beta=True,
    )  # fmt: skip
    _start(cell.recurrent.weight, network.w_rec.toarray().T)
    nn.init.zeros_(cell.recurrent.bias)
    w_in, bias, read_out = parameter(network.w_in), parameter(network.params["bias"]), ReadOut(network, x.shape[1])

    def run() -> torch.Tensor:
        spk, syn, mem = (x.new_zeros(len(x), network.n) for _ in range(3))
        spikes = []
        for drive in (x @ w_in + bias).unbind(1):
            spk, syn, mem = cell(drive, spk, syn, mem)
            spikes.append(spk)
        return read_out(spikes)

    return [w_in, bias, *cell.parameters(), *read_out.parameters()], run


def norse(network: Network, x: torch.Tensor) -> Built:
    lif = import_module("norse.torch.module.lif")
    dt, own = 0.001, decays(network)
    rate = [parameter((1 - own[name]) / dt) for name in ("alpha", "beta")]
    given = lif.LIFParameters(tau_syn_inv=rate[0], tau_mem_inv=rate[1], alpha=torch.tensor(5.0))
    gain = (1 - own["beta"])[:, None]  # its membrane multiplies the current by this
    w_in, w_rec = (
        parameter(torch.as_tensor(w.T, dtype=torch.float32) / gain) for w in (network.w_in, network.w_rec.toarray())
    )
    layer = lif.LIFRecurrent(x.shape[2], network.n, given, dt=dt, input_weights=w_in, recurrent_weights=w_rec)
    read_out, sequence = ReadOut(network, x.shape[1]), x.transpose(0, 1).contiguous()
    return [w_in, w_rec, *rate, *read_out.parameters()], lambda: read_out(layer(sequence)[0])


def spikingjelly(network: Network, x: torch.Tensor) -> Built:
    neuron, surrogate, functional = (
        import_module(f"spikingjelly.activation_based.{name}") for name in ("neuron", "surrogate", "functional")
    )
    own = decays(network)
    cell = neuron.CUBALIFNode(
        parameter(own["alpha"]), parameter(own["beta"]), 1.0, None, surrogate.Rect()
    )  # v_reset None: by subtraction
    cell.detach_reset = True
    w_in, bias = parameter(network.w_in), parameter(network.params["bias"])
    w_rec, read_out = parameter(network.w_rec.toarray()), ReadOut(network, x.shape[1])

    def run() -> torch.Tensor:
        functional.reset_net(cell)
        z, spikes = x.new_zeros(len(x), network.n), []
        for drive in (x @ w_in + bias).unbind(1):
            z = cell(torch.addmm(drive, z, w_rec))
            spikes.append(z)
        return read_out(spikes)

    return [w_in, bias, w_rec, cell.c_decay, cell.v_decay, *read_out.parameters()], run


def _start(weight: torch.Tensor, value) -> None:
    with torch.no_grad():
        weight.copy_(torch.as_tensor(value))


BUILD: dict[str, Callable[[Network, torch.Tensor], Built]] = dict(
    zip(PACKAGES, (snntorch, norse, spikingjelly), strict=True)
)
