"""The reference workload in libraries that a user would try first: their code, our compilers, the same count.

Every peer runs the network densely, as it has no other way: one product of its own with the 16 inputs and the
spikes of all neurons, the neurons, and one product with the spikes for the 5 read-outs. A synapse that is pruned
is a weight of 0. Where a peer has no spiking neuron, a plain loop here computes it. So what is compared is
a step that does the same for the user. That synapses are left out and silent neurons cost nothing is ours;
rows where none are left out and all neurons fire say what remains without it.

CMSIS-NN   arm_fully_connected_s8 of the wheel of bakenn, sums rounded to 8 bits; the neuron of cuba_lif
emlearn    eml_net_forward in floats, with the FPU of a Cortex-M4F; the neuron of cuba_lif
Qualia     its fully connected layer and its own LIF neuron, of 8 or 16 bits: no synaptic current, one decay and one
           threshold for all

None of them is imported: the files of their wheels are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version as release
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from lnp_edge import boards
from lnp_edge.base.errors import LnpError
from lnp_edge.base.install import PEERS, READ, require
from lnp_edge.commands import _kernels, _measure
from lnp_edge.firmware_gen import cmsis_nn, rival
from lnp_edge.firmware_gen import tables as c_tables
from lnp_edge.firmware_gen.build import build, version
from lnp_edge.firmware_gen.folder import scratch, write
from lnp_edge.runtime.code import Functions
from lnp_edge.runtime.emulator import Emulator
from lnp_edge.spec.model import QuantizedModel
from lnp_edge.stages.rival import Device

BOARD, NEURON, N = "cortex-m4", "cuba_lif", 256
OURS = (("ours", ""), ("ours, blocks", ", blocks"), ("ours, all synapses", _kernels.DENSE))
STEP = "lnp_peer_step"
FPU = {
    "gcc": ("-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    "zig": ("-mcpu=cortex_m4+vfp4d16sp", "-mfloat-abi=hard"),
}
SPIKE = 16  # what a spike is in the peers' inputs: 2^(shift of rec - shift of in)
DOWN, OUT_DOWN = 9, 7  # of sums, to 8 bits: 2^16 is more than 6 times their deviation
THRESHOLD = 28  # of Qualia's neurons, of 8 bits: with it about a tenth fires
SYSTEM = "#pragma GCC system_header\n"  # whose warnings are not shown
AIMS = {"CMSIS-NN": 12, "emlearn": 30, "Qualia": 30}  # times the instructions of our sparse network


@dataclass(frozen=True)
class Peer:
    """The C of a network in a library. tables : B of its constants; floats : whether it needs the FPU"""

    title: str
    files: dict[str, str]
    tables: int
    floats: bool = False


@dataclass(frozen=True)
class Row:
    """A network on the emulated core. synapses : that are stored; size : B of tables and of all code of a step"""

    title: str
    neurons: int
    synapses: int
    compiler: str
    version: str
    flags: str
    spikes: float
    step: float
    size: int


def check() -> None:
    """Raises LnpError if a peer is not installed, or in another version than the one whose files are known."""
    require("jinja2")
    for package, wanted in READ.items():
        if find_spec(package) is None:
            raise LnpError(f"this needs {package} {wanted}, which is not installed", PEERS)
        if (found := release(package)) != wanted:
            raise LnpError(f"{package} {found} is installed, what is known are the files of {wanted}", PEERS)


def smaller(model: QuantizedModel) -> int:
    """The neurons of a dense network that stores as many synapses, rounded up to a multiple of 4, as peers like it."""
    total = sum(p.w.nnz for p in model.projections)
    edge = _kernels.INPUTS + _kernels.OUTPUTS
    exact = (-edge + (edge**2 + 4 * total) ** 0.5) / 2
    return 4 * int(np.ceil(exact / 4))


def measure(chains: list[str], progress: Callable[[str], None] = lambda what: None) -> list[Row]:
    """Ours, first as it is compared, then every peer at our size and at our number of synapses."""
    check()
    found, sparse = [], _kernels.workload(NEURON, N)
    small = _kernels.workload(NEURON, smaller(sparse), _kernels.DENSE)
    own = {title: _kernels.workload(NEURON, N, kind) for title, kind in OURS}
    for chain in chains:
        for title, model in own.items():
            progress(f"{title}, {chain}")
            found += ours(title, model, chain)
        for model in (sparse, small):
            for make in KINDS:
                peer = make(model)
                progress(f"{peer.title}, {chain}")
                found.append(count(peer, model, chain))
    return found


def ours(title: str, model: QuantizedModel, chain: str) -> list[Row]:
    """Our own firmware: a step while a tenth fires, and the most of one in which all do."""
    rows = _kernels.counts(_kernels.SETTLE + _kernels.STEPS)
    r = _kernels.row(title, model, [rows], _kernels.SETTLE, boards.get(BOARD), chain)
    synapses, size = sum(p.w.nnz for p in model.projections), r.tables + r.code
    given = (r.neurons, synapses, chain, r.version, r.flags)
    return [Row(title, *given, r.spikes, r.step, size), Row(f"{title}, all fire", *given, r.fired, r.all_fire, size)]


def count(peer: Peer, model: QuantizedModel, chain: str) -> Row:
    """The peer's steps, counted like ours: after some to settle, on the same inputs."""
    board, n = _measure.roomy(boards.get(BOARD)), model.populations[0].n
    shape = 1, _kernels.INPUTS, n + _kernels.OUTPUTS
    rows, more = _kernels.counts(_kernels.SETTLE + _kernels.STEPS), FPU[chain] if peer.floats else ()
    with scratch() as folder:
        write(rival.generate(peer.files, shape, board), folder)
        sizes = build(folder, chain, more=more)
        with closing(Emulator(board, sizes.image)) as emulator:
            device = Device(emulator, shape, sizes)
            device.scores(rows[: _kernels.SETTLE, None])
            with emulator.count(STEP) as steps:
                said = device.scores(rows[_kernels.SETTLE :, None])
        functions = Functions(sizes.image, STEP)
        ran = {functions.whole(at) for block in steps.total for at, _ in steps.instructions(block)}
    tools = _kernels.flags(board, chain)
    return Row(
        peer.title, n, n * (n + _kernels.INPUTS + _kernels.OUTPUTS), chain, version(chain, board.family),
        " ".join((tools, *more)), float((said[:, :n] != 0).sum(1).mean()), float(np.mean(steps.calls)),
        peer.tables + sum(end - begin for begin, end, _ in ran),
    )  # fmt: skip


# ---- the C of each


def cmsis(model: QuantizedModel) -> Peer:
    """Sums of 8 bits: a product, its scale and its rounding are the library's."""
    w, out, hidden = _weights(model)
    tables: dict[str, NDArray] = {
        "w": w.T.astype(np.int8), "w_out": out.T.astype(np.int8),
        **{name: hidden[name].astype(np.uint16) for name in ("c_syn", "c_mem")},
        **{name: hidden[name].astype(np.int32) for name in ("v_th", "bias")},
    }  # fmt: skip

    def product(name: str, source: str, inputs: int, outputs: int, target: str, down: int) -> str:
        return f"""    {{
        const cmsis_nn_fc_params full = {{0, 0, 0, {{-128, 127}}}};
        const cmsis_nn_per_tensor_quant_params quant = {{1 << 30, {1 - down}}};  // 2^-{down}
        const cmsis_nn_dims in = {{1, 1, 1, {inputs}}}, filter = {{{inputs}, 1, 1, {outputs}}};
        const cmsis_nn_dims none = {{1, 1, 1, {outputs}}}, out = {{1, 1, 1, {outputs}}};
        (void)arm_fully_connected_s8(&ctx, &full, &quant, &in, {source}, &filter, {name}, &none, NULL, &out, {target});
    }}
"""

    n, inputs = w.shape[1], len(w)
    body = f"""    static const cmsis_nn_context ctx = {{0}};
{product("w", "x", inputs, n, "drive", DOWN)}    for (size_t j = 0; j < {n}u; j++) {{
        const int32_t current = {1 << (DOWN + _kernels.SHIFTS["in"])} * drive[j] + bias[j];
        i_syn[j] += current - (int32_t)((int64_t)i_syn[j] * c_syn[j] >> 16);
        v[j] += i_syn[j] - (int32_t)((int64_t)v[j] * c_mem[j] >> 16);
        const bool z = v[j] > v_th[j];
        v[j] -= z ? v_th[j] : 0;
        spike[j] = z ? {SPIKE} : 0;
    }}
{product("w_out", "spike", n, _kernels.OUTPUTS, "said", OUT_DOWN)}"""
    state = f"static int32_t i_syn[{n}], v[{n}];\nstatic int8_t drive[{n}];\n"
    head = '#include "arm_nnfunctions.h"\n'
    text = _program(head, "int8_t", inputs, tables, state, body)
    return _peer("CMSIS-NN", {"lnp_rival.c": text} | cmsis_nn.quiet(cmsis_nn.files()), tables)


def emlearn(model: QuantizedModel) -> Peer:
    """Sums of floats."""
    w, out, hidden = _weights(model)
    numbers = {
        "w": w, "w_out": out, "none": np.zeros(w.shape[1]),
        **{f"{name}_left": 1 - hidden[name] / 65536 for name in ("c_syn", "c_mem")},
        **{name: hidden[name] / 2.0 ** _kernels.SHIFTS["in"] for name in ("v_th", "bias")},
    }  # fmt: skip
    tables: dict[str, NDArray] = {name: np.asarray(values, np.float32) for name, values in numbers.items()}
    n, inputs, outputs = w.shape[1], len(w), _kernels.OUTPUTS
    body = f"""    (void)eml_net_forward(x, {inputs}, w, none, EmlNetActivationIdentity, drive, {n});
    for (size_t j = 0; j < {n}u; j++) {{
        i_syn[j] = c_syn_left[j] * i_syn[j] + drive[j] + bias[j];
        v[j] = c_mem_left[j] * v[j] + i_syn[j];
        const bool z = v[j] > v_th[j];
        v[j] -= z ? v_th[j] : 0.0f;
        spike[j] = z ? {SPIKE}.0f : 0.0f;
    }}
    (void)eml_net_forward(spike, {n}, w_out, none, EmlNetActivationIdentity, said, {outputs});
"""
    state = f"static float i_syn[{n}], v[{n}], drive[{n}];\n"
    head = '#include "eml_net.h"\ntypedef float float32_t;\n'
    text = _program(head, "float", inputs, tables, state, body)
    root = _root("emlearn")
    # Without a C library: what the activations would call is never called, as all are the identity.
    missing = """#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define expf(x) (x)
#define logf(x) (x)
#define tanhf(x) (x)
#define fabsf(x) __builtin_fabsf(x)
"""
    names = ("eml_net.h", "eml_net_common.h", "eml_common.h", "eml_log.h")
    files = {
        name: SYSTEM + missing * (name == names[0]) + _without_libc((root / name).read_text("utf-8")) for name in names
    }
    return _peer("emlearn", {"lnp_rival.c": text} | files, tables, floats=True)


def qualia_8(model: QuantizedModel) -> Peer:
    """Its own neuron; everything that is stored has 8 bits, sums have 32."""
    return _qualia(model, 8)


def qualia_16(model: QuantizedModel) -> Peer:
    """Its own neuron; everything that is stored has 16 bits, sums have 32."""
    return _qualia(model, 16)


def _qualia(model: QuantizedModel, width: int) -> Peer:
    from jinja2 import Environment, FileSystemLoader

    w, out, _ = _weights(model)
    n, inputs, outputs = w.shape[1], len(w), _kernels.OUTPUTS
    tables = {"w": w.T.astype(f"int{width}"), "w_out": out.T.astype(f"int{width}")}
    roots = [_root(f"qualia_codegen_{name}") / "assets" for name in ("plugin_snn", "core")]
    found = Environment(loader=FileSystemLoader(roots))

    # A scale is the number of bits behind the point. A spike is 1, which is SPIKE; a decay is a quarter.
    fine = 0 if width == 8 else 4
    scale = SimpleNamespace(spike=4, weight=7, sum=11 - DOWN + fine, out=11 - OUT_DOWN + fine)

    def node(layer: SimpleNamespace, shape: int, before: int, weights: int, after: int) -> SimpleNamespace:
        kind = {"number_type": int, "width": width, "long_width": 32, "output_round_mode": "floor"}
        source = SimpleNamespace(q=SimpleNamespace(output_scale_factor=before))
        q = SimpleNamespace(weights_scale_factor=weights, bias_scale_factor=None, output_scale_factor=after, **kind)
        return SimpleNamespace(layer=layer, input_shape=[[1, shape]], innodes=[source], q=q)

    def dense(name: str, units: int) -> SimpleNamespace:
        return SimpleNamespace(name=name, units=units, use_bias=False, activation=SimpleNamespace(name="linear"))

    lif = SimpleNamespace(name="neurons", soft_reset=1, decay_input=0)
    nodes = {
        "fc": [node(dense("sums", n), inputs, scale.spike, scale.weight, scale.sum),
               node(dense("read_out", outputs), n, scale.spike, scale.weight, scale.out)],
        "lif": [node(lif, n, scale.sum, scale.sum, scale.spike)],
    }  # fmt: skip
    given = {"qtype2ctype": lambda _, bits: f"int{bits}_t"}
    limits = [
        SimpleNamespace(number_type=int, width=width, long_width=32, min_val=-(2 ** (width - 1)),
                        max_val=2 ** (width - 1) - 1)
    ]  # fmt: skip
    text = found.get_template("include/number.hh").render(number_types=limits, **given)
    for template, each in nodes.items():
        text += "".join(found.get_template(f"layers/{template}.cc").render(node=one, **given) for one in each)
    header = SYSTEM + "#define SINGLE_FILE\n" + _without_libc(text)
    decay, threshold = 1 << (scale.sum - 2), THRESHOLD << fine
    body = f"""    sums(x, (const void *)w, drive);
    neurons(drive, {threshold}, {decay}, spike);
    read_out(spike, (const void *)w_out, said);
"""
    state = f"static int{width}_t drive[{n}];\n"
    head = '#include "qualia.h"\n'
    text = _program(head, f"int{width}_t", inputs, tables, state, body)
    return _peer(f"Qualia SNN, {width} bits", {"lnp_rival.c": text, "qualia.h": header}, tables)


KINDS = (cmsis, emlearn, qualia_8, qualia_16)


def _weights(model: QuantizedModel) -> tuple[NDArray, NDArray, dict[str, NDArray[np.int32]]]:
    """The weights of inputs and spikes [16 + n, n], those of the read-outs [n, 5], and the tables of the neurons."""
    w = np.vstack([model.projection(name).w.dense() for name in ("in", "rec")])
    return w, model.projection("out").w.dense(), model.populations[0].params


def _program(head: str, kind: str, inputs: int, tables: dict[str, NDArray], state: str, body: str) -> str:
    """The C that all have in common around the body of a step. kind : the type of inputs, spikes and read-outs"""
    first, outputs = _kernels.INPUTS, _kernels.OUTPUTS
    return f"""#include <stdbool.h>
{head}#include "lnp_rival.h"

{"".join(_array(name, table) for name, table in tables.items())}
static {kind} x[{inputs}], said[{outputs}];
{state}static {"float" if kind == "float" else "int32_t"} y[{outputs}];

void {STEP}(const int16_t *counts);
__attribute__((noinline)) void {STEP}(const int16_t *counts)
{{
    {kind} *const spike = x + {first};
    for (size_t k = 0; k < {first}u; k++) {{
        const int16_t count = counts[k];
        x[k] = ({kind})(count > 127 ? 127 : count < -127 ? -127 : count);
    }}
{body}    for (size_t k = 0; k < {outputs}u; k++) {{
        y[k] += said[k] - y[k] / 64;
    }}
}}

void lnp_rival_scores(const int16_t *counts, int32_t *scores)
{{
    {STEP}(counts);
    for (size_t j = 0; j < {inputs - first}u; j++) {{
        *scores++ = x[{first} + j] != 0;
    }}
    for (size_t k = 0; k < {outputs}u; k++) {{
        *scores++ = (int32_t)y[k];
    }}
}}
"""


def _array(name: str, table: NDArray) -> str:
    values = c_tables.wrap([str(value) for value in table.ravel().tolist()])
    return f"static const {c_tables.c_type(table)} {name}[{table.size}] = {{\n{values}\n}};\n"


def _peer(title: str, files: dict[str, str], tables: dict[str, NDArray], floats: bool = False) -> Peer:
    return Peer(title, files, sum(table.nbytes for table in tables.values()), floats)


def _root(package: str) -> Path:
    spec = find_spec(package)
    assert spec and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def _without_libc(text: str) -> str:
    """The same without what a build without a C library lacks and a step does not need."""
    for name in ("math", "stdio", "stdlib"):
        text = text.replace(f"#include <{name}.h>", "")
    return text.replace("#include <eml_log.h>", '#include "eml_log.h"')


WORDS, KEYS = (0, 3), 4  # of the table: the columns that are no numbers, and those that name a row


def table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """The columns and the rows of what was measured: docs/performance.md has them."""
    ours = _ours(rows)
    columns = ["network", "N", "synapses", "compiler", "spikes", "a step", "times ours", "tables + step, B"]
    return columns, [
        [r.title, str(r.neurons), _kernels.whole(r.synapses), r.compiler, f"{r.spikes:.1f}", _kernels.whole(r.step),
         f"{r.step / ours[r.compiler]:.1f}", _kernels.whole(r.size)]
        for r in rows
    ]  # fmt: skip


def notes(rows: list[Row]) -> Iterator[str]:
    """What compiled the rows, the packages that were read, and whether the aims are met."""
    ours = _ours(rows)
    yield from dict.fromkeys(f"* {r.compiler}: {r.version}, `{r.flags}`" for r in rows)
    yield f"* {', '.join(f'{package} {wanted}' for package, wanted in READ.items())}"
    for peer, aim in AIMS.items():
        times: dict[str, list[float]] = {}
        for r in rows:
            if r.title.startswith(peer) and r.neurons == N:
                times.setdefault(r.compiler, []).append(r.step / ours[r.compiler])
        said = [f"{min(k):.1f} with {chain}, {'met' if min(k) >= aim else 'missed'}" for chain, k in times.items()]
        yield f"* {peer}, at least {aim} times the instructions of our sparse network: {'; '.join(said)}"


def _ours(rows: list[Row]) -> dict[str, float]:
    """The instructions of a step of our network, by compiler."""
    return {row.compiler: row.step for row in rows if row.title == OURS[0][0]}
