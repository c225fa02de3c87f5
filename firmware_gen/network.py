"""The network as C: its header, and its step with a function per projection and population."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from string import Template

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.version import VERSION
from lnp_edge.firmware_gen import hand, neuron, stream, tables
from lnp_edge.spec import layout
from lnp_edge.spec.board import ARM, RISCV
from lnp_edge.spec.frontend import GROUP
from lnp_edge.spec.model import INPUT, Population, Projection, QuantizedModel

CSRC = Path(__file__).parent / "csrc"
INCLUDE = re.compile(r'^#include "([\w.]+)"', re.M)
TOGETHER = 4  # neurons of a loop in C
FEW = 7  # neurons without a loop: none by hand does fewer than 8
MOST_FEATURES = 256  # that a step keeps on the stack as int16; more are encoded at once
KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """
        auto break case char const continue default do double else enum extern float for goto if inline int
        long register restrict return short signed sizeof static struct switch typedef union unsigned void
        volatile while asm typeof bool true false main
        static_assert thread_local and_eq or_eq not_eq xor_eq co_await co_return co_yield const_cast dynamic_cast
        reinterpret_cast static_cast atomic_cancel atomic_commit atomic_noexcept
        """,
    )
)


def files(model: QuantizedModel, name: str) -> dict[str, str]:
    """The four files of a model. Raises ConfigError for a population whose name gives a C keyword."""
    for member in (*layout.tables(model), *(field.full_name for field in model.fields)):
        if member in KEYWORDS:
            raise ConfigError(f"{member!r} means something in C", "choose another name for the population")
    return {
        f"lnp_{name}.h": _header(model, name),
        f"lnp_{name}.c": _source(model, name),
        f"lnp_{name}_tables.h": _tables_header(model, name),
        f"lnp_{name}_tables.c": _tables_source(model, name),
    }


def shared(files: dict[str, str]) -> dict[str, str]:
    """The files of csrc that a network's own need, by name: what they include, and the sources of those headers."""
    found, todo = dict[str, str](), list(files.values())
    while todo:
        for name in INCLUDE.findall(todo.pop()):
            for path in (CSRC / name, (CSRC / name).with_suffix(".c")):
                if path.name not in found and path.is_file():
                    found[path.name] = path.read_text("utf-8")
                    todo.append(found[path.name])
    return dict(sorted(found.items()))


def readout(model: QuantizedModel) -> str:
    """The field of the state that holds the read-outs y: the first field of the last population."""
    return f"{model.readout.name}_{model.readout.module.STATE[0]}"


def _top(model: QuantizedModel) -> str:
    parts = ", ".join(f"{p.name} ({p.n} {p.neuron})" for p in model.populations)
    what = f"model {model.fingerprint:08x}: {len(model.channels)} channels, {parts}"
    return _comment(f"Generated for {what}. Regenerate rather than edit.")


def loops(model: QuantizedModel, family: str = "") -> str:
    """Which parts of a step have loops in assembly, and which are C; the read-out is left out.

    family : of the core that it is said of, ARM or RISCV; of both, and what is C everywhere, if empty
    """
    encodes = hand.encode(model, "") != "0" and family != RISCV
    found = {"sense": encodes} if any(p.source == INPUT for p in model.projections) else {}
    for population in model.populations[:-1]:
        found[f"begin_all_{population.name}"] = bool(hand.begin(population, "", "")[1])
        found |= {f"project_{p.name}": bool(layout.of(model, p).by_hand(model, p)) for p in model.into(population)}
        found[f"update_{population.name}"] = bool(hand.finish(population, "", ""))
    served, left = (", ".join(name for name, there in found.items() if there == by_hand) for by_hand in (True, False))
    arm = "with the DSP instructions of Armv7E-M"
    cores = {ARM: arm, RISCV: "on RV32IM", "": f"{arm} and on RV32IM{' (there sense is in C)' * encodes}"}
    said = f"Loops in assembly {cores[family]}: {served or 'none'}"
    return f"{said}; in C: {left}" if left else said


def _comment(text: str) -> str:
    return "".join(f"// {line}\n" for line in textwrap.wrap(text, tables.WIDTH - 3))


def _header(model: QuantizedModel, name: str) -> str:
    up = name.upper()
    sizes = "\n".join(f"#define LNP_{up}_{key} {value}u" for key, value in tables.sizes(model).items())
    return Template((CSRC / "lnp_model.h.in").read_text("utf-8")).substitute(
        top=_top(model),
        NAME=up,
        name=name,
        version=VERSION,
        fingerprint=f"0x{model.fingerprint:08X}u",
        sizes=f"{sizes}\n#define LNP_{up}_WINDOWS {model.open_windows}u",
        names=stream.names(model, up),
        forecast=stream.forecast(model, name),
        state="\n".join(_members(model)),
        drives=_drives(model),
    )


def _drives(model: QuantizedModel) -> str:
    count = layout.drives(model)
    what = "summed input of the population being stepped, if its neurons cannot add it in place"
    return f"    int32_t drive[{count}];  // {what}\n" if count else ""


def _members(model: QuantizedModel) -> list[str]:
    """The members of the state struct."""
    lines = []
    for field in model.fields:
        c_type = "uint32_t" if field.name == "z" else "int32_t"
        lines.append(f"    {c_type} {field.full_name}[{field.words}];")
    return lines


def _tables_header(model: QuantizedModel, name: str) -> str:
    up = name.upper()
    body = tables.header(model, name)
    return (
        f"{_top(model)}#ifndef LNP_{up}_TABLES_H\n#define LNP_{up}_TABLES_H\n\n"
        f'#include "lnp_{name}.h"\n\n{body}\n#endif\n'
    )


def _tables_source(model: QuantizedModel, name: str) -> str:
    include = f'#include "lnp_{name}_tables.h"'
    return "\n".join([_top(model) + include, "", tables.definition(model, name), tables.directory(model, name)])


def _source(model: QuantizedModel, name: str) -> str:
    up = name.upper()
    used = ("N_OUT", "STATE_WORDS", "SAVE_BYTES", "FINGERPRINT")
    reads, encoded = any(p.source == INPUT for p in model.projections), _encoded(model)
    senses = not model.front.stacks or (reads and encoded)
    parts = [
        _top(model) + _comment(f"{loops(model)}.") + f'#include "lnp_{name}.h"',
        '#include "lnp_kernel.h"',
        '#include "lnp_ops.h"',
        f'#include "lnp_{name}_tables.h"',
        "",
        *([neuron.encoder(model.encoder, f"lnp_{name}_tables.encoder_")] if senses or reads else []),
        *([neuron.sense(model, name, encoded, hand.encode(model, f"lnp_{name}_tables.encoder_"))] if senses else []),
    ]
    for population in model.populations:
        own = [neuron.neuron(population), _begin(model, population, name)]
        own += [_projection(model, p, name, encoded) for p in _into(model, population)]
        parts += [part for part in (*own, _population(population, name)) if part]
    most = {p.name: max(model.bounds(p)) for p in model.populations}
    limits = {p.name: neuron.limits(p, most[p.name], name) for p in model.populations}
    reached = [p for p in model.populations if hasattr(p.module, "reachable")]
    limits |= {p.name: dict.fromkeys(p.module.STATE, "") for p in reached}
    parts += [
        _step(model, name, senses, encoded),
        *(function for functions in limits.values() for function in functions.values() if function),
        *(neuron.reachable(p, model.drive_bounds(p), name) for p in reached),
        f"#define LNP_MODEL(x) lnp_{name}_##x",
        *(f"#define LNP_{key} LNP_{up}_{key}" for key in used),
        f"#define LNP_READOUT {readout(model)}",
        _fields(model, most, limits),
        *([_pairs(model, reached)] if reached else []),
        "",
        '#include "lnp_state.h"',
        "",
        stream.source(model, name),
    ]
    return "\n".join(parts)


def _encoded(model: QuantizedModel) -> bool:
    """Whether the input is encoded before it is read: not if one projection reads each value once."""
    readers = [p for p in model.projections if p.source == INPUT]
    fits = model.front.stacks or len(model.inputs) <= MOST_FEATURES
    return not (len(readers) == 1 and layout.of(model, readers[0]).ENCODES and fits)


def _into(model: QuantizedModel, population: Population) -> list[Projection]:
    """The projections into a population in their order on a device, but for one that sums are turned for."""
    return sorted(model.into(population), key=lambda p: not layout.of(model, p).turns_back(p))


def _begin(model: QuantizedModel, p: Population, name: str) -> str:
    """`begin_all_<name>`: what all sums begin with."""
    found, sums, turned = neuron.begins_with(p), neuron.sums(p), hand.turned(model, p, _into(model, p))
    defined, by_hand = hand.begin(p, sums, f"lnp_{name}_tables.{p.name}_", hand.turn(model, turned))

    def one(k: int, of: int) -> list[str]:
        return [f"sums_at[{k}] = {neuron.call(f'begin_{p.name}', found, k)};"]

    body = _loops({**found, "sums": ("int32_t *", sums)}, name, by_hand or "0", f"{p.n}u", p.n, one)
    return f"{defined}LNP_PHASE void begin_all_{p.name}(lnp_{name}_t *s)\n{{\n{body}\n}}\n"


def _loops(
    found: neuron.Arrays, name: str, first: str, end: str, n: int, one: Callable[[int, int], list[str]], pre: str = ""
) -> str:
    """Loops over neurons from `first` to before `end`, of all n: four at a time, then those left. FEW have none.

    found : the arrays;  one : the lines for neuron k of so many together;  pre : a line before these many, or ""
    """
    at = [f"{array}_at" for array in found]
    kind, place = next(iter(found.values()))
    in_tables = any("tables->" in where for _, where in found.values())
    text = [f"const LNP_FLASH lnp_{name}_tables_t *tables = &lnp_{name}_tables;"] * in_tables
    if n <= FEW and end == f"{n}u":
        text += [f"{pointer}{array}_at = {where};" for array, (pointer, where) in found.items()]
        return _indented(text + [line for k in range(n) for line in one(k, n)])
    text += tables.assigned("const uint32_t i", first).split("\n")
    text += [f"{pointer}{array}_at = {where} + i;" for array, (pointer, where) in found.items()]
    for many, there, last in (
        (TOGETHER, n >= TOGETHER, f"{at[0]} + ({end} - i) / {TOGETHER}u * {TOGETHER}u"),
        (1, n % TOGETHER != 0, f"{place} + {end}"),
    ):
        if there:
            text += ["LNP_NO_UNROLLING", f"for ({kind}const last = {last}; {at[0]} != last;) {{"]
            text += [f"    {pre.format(many)}"] * bool(pre)
            text += [f"    {line}" for k in range(many) for line in one(k, many)]
            text += [f"    {pointer} += {many};" for pointer in at]
            text += [f"    LNP_OPAQUE({pointer});" for pointer in at]
            text += ["}"]
    return _indented(text)


def _indented(text: list[str]) -> str:
    return "\n".join(f"    {line}" for line in text)


def _projection(model: QuantizedModel, p: Projection, name: str, encoded: bool) -> str:
    """`project_<name>`: adds what the source sends to the sums of the target."""
    kind, target = layout.of(model, p), model.population(p.target)
    source, x = "int16_t *input", "input[k]" if encoded else "encode_channel(k, input[k])"
    if p.source != INPUT:
        source = "uint32_t *z"
    when = ", spikes of the previous step" if model.delayed(p) else ", spikes of this step" * (p.source != INPUT)
    turned = hand.turned(model, target, _into(model, target))
    by_hand = kind.by_hand(model, p, hand.turn(model, turned) if p is turned or kind.turns_back(p) else 0)
    body = kind.body(model, p, f"lnp_{name}_tables.w_{p.name}", x)
    phase = "LNP_PHASE" if by_hand or "add_spikes_" in body else "LNP_APART"  # add_spikes has a loop by hand in it
    return f"""// {p.name}: {p.source} to {p.target}{when}.
{by_hand}{chr(10) * bool(by_hand)}{phase} void project_{p.name}(int32_t *sums, const {source})
{{
{body}
}}
"""


def _population(p: Population, name: str) -> str:
    """`update_<name>`: one step of each neuron; what it receives is added."""
    if not layout.parts(p.module).finish:
        return ""
    found = neuron.finishes(p)

    def call(k: int) -> str:
        return neuron.call(f"finish_{p.name}", found, k)

    if not p.spikes:
        body = _loops(found, name, "0", f"{p.n}u", p.n, lambda k, of: [f"{call(k)};"])
        return f"LNP_PHASE void update_{p.name}(lnp_{name}_t *s)\n{{\n{body}\n}}\n"

    def one(k: int, of: int) -> list[str]:
        return [f"if (LNP_RARELY({call(k)})) {{", f"    z |= 0x{1 << 32 - of + k:08X}u;", "}"]

    body = _loops(found, name, "first", "end", p.n, one, "z >>= {};")
    done = hand.finish(p, f"s->{p.name}_", f"lnp_{name}_tables.{p.name}_") or "0"
    return f"""// One step of at most 32 neurons. Returns their spikes, that of the last neuron in the highest bit.
LNP_PHASE uint32_t spikes_of_{p.name}(lnp_{name}_t *s, uint32_t first, uint32_t end)
{{
    uint32_t z = 0;
{body}
    return z;
}}

LNP_PHASE void update_{p.name}(lnp_{name}_t *s)
{{
{tables.assigned("    uint32_t i", done)}
    for (uint32_t end; i < {p.n}u; i = end) {{
        const uint32_t most = 32u - i % 32u;
        end = {p.n}u - i < most ? {p.n}u : i + most;
        const uint32_t z = spikes_of_{p.name}(s, i, end) >> (32u + i - end);
        s->{p.name}_z[i / 32u] = i % 32u == 0 ? z : s->{p.name}_z[i / 32u] | z << i % 32u;
    }}
}}
"""


def _step(model: QuantizedModel, name: str, senses: bool, encoded: bool) -> str:
    """senses : whether there is a `sense`, which fills `input`; else the counts are what is read"""
    reads = senses or any(p.source == INPUT for p in model.projections)
    lines, given = [] if reads else ["    (void)counts;"], "counts"
    if senses:
        state, given = "" if model.front.stacks else "s, ", "input"
        lines += [f"    _Alignas(4) int16_t input[{neuron.even(model)}];"]
        lines += [f"    sense({state}input, counts);"]
    for population in model.populations:
        lines += _adds(model, population, given)
        if layout.parts(population.module).finish:
            lines.append(f"    update_{population.name}(s);")
    body = "\n".join(lines)
    return f"""void lnp_{name}_step(lnp_{name}_t *s, const int16_t counts[LNP_{name.upper()}_N_IN])
{{
{body}
    s->t++;
}}
"""


def _adds(model: QuantizedModel, population: Population, given: str) -> list[str]:
    """The lines that begin the sums of a population and add to them. given : what its input is called"""
    joined = _into(model, population)
    turned = hand.turned(model, population, joined)
    calls = [
        f"    project_{p.name}({neuron.sums(population)}, {given if p.source == INPUT else f's->{p.source}_z'});"
        for p in sorted(joined, key=lambda p: p is not turned)
    ]
    return [f"    begin_all_{population.name}(s);", *calls]


def _fields(model: QuantizedModel, most: dict[str, int], limits: dict[str, dict[str, str]]) -> str:
    """The definition of LNP_FIELDS, see lnp_state.h.

    most : the largest bound of each population;  limits : of each, the variables with a limit function
    """
    rows = []
    for f in model.fields:
        if f.name == "z":
            rows.append(f"SPIKES({f.full_name}, {f.words}u, {model.population(f.population).n}u)")
        elif f.population == GROUP:
            rows.append(f"WORDS({f.full_name}, {f.words}u, {model.front.state[f.name]}u)")
        elif f.name in limits[f.population]:
            rows.append(f"WORDS({f.full_name}, {f.words}u, limit_{f.full_name}(i))")
        else:
            rows.append(f"WORDS({f.full_name}, {f.words}u, {most[f.population]}u)")
    return " \\\n    ".join(["#define LNP_FIELDS(WORDS, SPIKES)", *rows])


def _pairs(model: QuantizedModel, reached: list[Population]) -> str:
    """The definition of LNP_PAIRS, see lnp_state.h. reached : populations whose neuron has `reachable`"""
    firsts, word = dict[str, int](), 0
    for f in model.fields:
        firsts.setdefault(f.population, word)
        word += f.words
    rows = [f"PAIR({firsts[p.name]}u, {p.n}u, reach_{p.name})" for p in reached]
    return " \\\n    ".join(["#define LNP_PAIRS(PAIR)", *rows])
