"""The network as C: its header, and its step with a function per projection and population."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from string import Template

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.version import VERSION
from lnp_edge.firmware_gen import hand, neuron, stream, tables
from lnp_edge.spec import layout
from lnp_edge.spec.frontend import GROUP
from lnp_edge.spec.model import INPUT, Population, Projection, QuantizedModel

CSRC = Path(__file__).parent / "csrc"
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


def readout(model: QuantizedModel) -> str:
    """The field of the state that holds the read-outs y: the first field of the last population."""
    return f"{model.readout.name}_{model.readout.module.STATE[0]}"


def _top(model: QuantizedModel) -> str:
    parts = ", ".join(f"{p.name} ({p.n} {p.neuron})" for p in model.populations)
    what = f"model {model.fingerprint:08x}: {len(model.channels)} channels, {parts}"
    return _comment(f"Generated for {what}. Regenerate rather than edit.")


def loops(model: QuantizedModel) -> str:
    """Which parts of a step lnp_armv7em.h has loops for, and which are C everywhere; the read-out is left out."""
    found = {"sense": hand.encode(model, "") != "0"} if any(p.source == INPUT for p in model.projections) else {}
    for population in model.populations[:-1]:
        found[f"begin_all_{population.name}"] = bool(hand.begin(population, "", "")[1])
        found |= {f"project_{p.name}": bool(layout.of(model, p).by_hand(model, p)) for p in model.into(population)}
        found[f"update_{population.name}"] = bool(hand.finish(population, "", ""))
    served, left = (", ".join(name for name, there in found.items() if there == by_hand) for by_hand in (True, False))
    said = f"With the DSP instructions of Armv7E-M, loops in assembly: {served or 'none'}"
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
        own = [neuron.neuron(population, name), _begin(model, population, name)]
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
    """The projections into a population in the order in which they are computed: one that sets the sums first."""
    return sorted(model.into(population), key=lambda p: not layout.of(model, p).sets(p))


def _sums(population: Population) -> str:
    """What is added to, in the state."""
    into = layout.parts(population.module).into
    return f"s->{into}" if into == layout.DRIVE else f"s->{population.name}_{into}"


def _sets(model: QuantizedModel, population: Population) -> bool:
    """Whether a projection sets the sums of a population."""
    joined = _into(model, population)
    return bool(joined) and layout.of(model, joined[0]).sets(joined[0])


def _apart(model: QuantizedModel, population: Population) -> bool:
    """Whether a loop by hand adds the projection that would set the sums: then they begin before it."""
    joined = _into(model, population)
    return bool(joined and layout.of(model, joined[0]).by_hand(model, joined[0]))


def _begin(model: QuantizedModel, p: Population, name: str) -> str:
    """`begin_all_<name>`: what all sums begin with."""
    if _sets(model, p) and not _apart(model, p):
        return ""
    turned = hand.turned(model, p, _into(model, p))
    defined, call = hand.begin(p, _sums(p), f"lnp_{name}_tables.{p.name}_", hand.turn(model, turned))
    first = tables.assigned("    uint32_t i", call or "0")
    return f"""{defined}LNP_PHASE void begin_all_{p.name}(lnp_{name}_t *s)
{{
{first}
    for (; i < {p.n}u; i++) {{
        {_sums(p)}[i] = begin_{p.name}({_sums(p)}, i);
    }}
}}
"""


def _projection(model: QuantizedModel, p: Projection, name: str, encoded: bool) -> str:
    """`project_<name>`: adds what the source sends to the sums of the target, or sets them."""
    kind, target = layout.of(model, p), model.population(p.target)
    is_first = _sets(model, target) and p is _into(model, target)[0]
    source, x = "int16_t *input", "input[k]" if encoded else "encode_channel(k, input[k])"
    if p.source != INPUT:
        source = "uint32_t *z"
    when = ", spikes of the previous step" if model.delayed(p) else ", spikes of this step" * (p.source != INPUT)
    begin = f"begin_{p.target}" if is_first else "so_far"
    if is_first and _apart(model, target):
        begin = f"LNP_ASSEMBLY ? so_far : {begin}"
    turned = hand.turned(model, target, _into(model, target))
    by_hand = kind.by_hand(model, p, hand.turn(model, turned) if p is turned or is_first else 0)
    body = kind.body(model, p, f"lnp_{name}_tables.w_{p.name}", x, begin)
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
    if not p.spikes:
        return f"""LNP_PHASE void update_{p.name}(lnp_{name}_t *s)
{{
    const lnp_{name}_tables_t *tables = &lnp_{name}_tables;
    LNP_OPAQUE(tables);
    for (uint32_t i = 0; i < {p.n}u; i++) {{
        finish_{p.name}(s, tables, i);
    }}
}}
"""
    done = hand.finish(p, f"s->{p.name}_", f"lnp_{name}_tables.{p.name}_") or "0"
    return f"""// One step of at most 32 neurons. Returns their spikes, that of the last neuron in the highest bit.
LNP_PHASE uint32_t spikes_of_{p.name}(lnp_{name}_t *s, uint32_t first, uint32_t end)
{{
    const lnp_{name}_tables_t *tables = &lnp_{name}_tables;
    LNP_OPAQUE(tables);
    uint32_t z = 0;
    LNP_NO_UNROLLING
    for (uint32_t i = first; i < end; i++) {{
        z >>= 1;
        if (finish_{p.name}(s, tables, i) != 0) {{
            z |= 0x80000000u;
        }}
    }}
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

    def call(p: Projection) -> str:
        return f"project_{p.name}({_sums(population)}, {given if p.source == INPUT else f's->{p.source}_z'});"

    lines, begin = [f"    {call(p)}" for p in joined], f"begin_all_{population.name}(s);"
    if not _sets(model, population):
        return [f"    {begin}", *lines]
    if not _apart(model, population):
        return lines
    turned = hand.turned(model, population, joined)
    if not turned:
        return ["    if (LNP_ASSEMBLY) {", f"        {begin}", "    }", *lines]
    later = ["    if (!LNP_ASSEMBLY) {", f"        {call(turned)}", "    }"]
    rest = [f"    {call(p)}" for p in joined[1:] if p is not turned]
    return ["    if (LNP_ASSEMBLY) {", f"        {begin}", f"        {call(turned)}", "    }", lines[0], *later, *rest]


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
