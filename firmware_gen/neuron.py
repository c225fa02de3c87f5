"""Neurons, encoders and front ends as C, generated from the one Python function that defines each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lnp_edge.firmware_gen.tables import assigned, listed, wrap
from lnp_edge.spec import layout, plugins
from lnp_edge.spec.model import Population, QuantizedModel
from lnp_edge.spec.trace import Statement, trace

HALF = 32768  # the largest leak of lnp_leak_half


Arrays = dict[str, tuple[str, str]]  # what a step reads or changes: type of a pointer to it, and where it is in C


def begins_with(population: Population) -> Arrays:
    """What the first part of a step reads; `sums` is what is added to."""
    parts = layout.parts(population.module)
    found = _arrays(population, parts.begin)
    found.pop(parts.into, None)
    return {"sums": ("const int32_t *", sums(population)), **found}


def finishes(population: Population) -> Arrays:
    """What the rest of a step reads or changes."""
    return _arrays(population, layout.parts(population.module).finish)


def sums(population: Population) -> str:
    """What is added to, in the state."""
    into = layout.parts(population.module).into
    return f"s->{into}" if into == layout.DRIVE else f"s->{population.name}_{into}"


def _arrays(population: Population, statements: Iterable[Statement]) -> Arrays:
    changed = {one.target for one in statements}
    used = {arg for one in statements for arg in one.args} | changed
    found = {}
    for name in (*population.module.STATE, layout.DRIVE):
        if name in used:
            place = "s->drive" if name == layout.DRIVE else f"s->{population.name}_{name}"
            found[name] = ("int32_t *" if name in changed else "const int32_t *", place)
    for name, stored in population.module.TABLES.items():
        if name in used:
            kind = stored.table(population.params[name]).dtype.name
            found[name] = (f"const LNP_FLASH {kind}_t *", f"tables->{population.name}_{name}")
    return found


def call(function: str, found: Arrays, i: int) -> str:
    """A call for neuron i of these arrays."""
    return f"{function}({', '.join([f'{i}u', *(f'{name}_at' for name in found)])})"


def neuron(population: Population) -> str:
    """A step of neuron i in two parts, see layout.Parts. Other arguments are the arrays that a part needs.

    `begin_<population>(i, sums_at, ...)`   what its sum begins with, to which is added
    `finish_<population>(i, ...)`   the rest, after all that it receives was added. Returns its spike if it spikes
    """
    module, own, known = population.module, population.name, forms(population)
    parts, from_file = layout.parts(module), f"generated from lnp_edge/neurons/{population.neuron}.py"
    found = begins_with(population)
    if parts.into == layout.DRIVE:
        begin = ["    (void)i;", "    (void)sums_at;", "    return 0;"]
    else:
        begin = [f"    int32_t {parts.into}_ = sums_at[i];"]
        begin += [*_body(parts.begin, {parts.into}, _elements(found), known), f"    return {parts.into}_;"]
    texts = [
        f"// What the sum of a neuron of {own} begins with, {from_file}.",
        _signature("int32_t", f"begin_{own}", found),
        *("{", *begin, "}", ""),
    ]
    if not parts.finish:
        return "\n".join(texts)
    found = finishes(population)
    read = {name: kind for name, (kind, _) in found.items() if name not in module.TABLES}
    finish = [f"    {kind.removesuffix('*')}{name}_ = {name}_at[i];" for name, kind in read.items()]
    z = trace(module.step).returns[-1] if population.spikes else ""
    finish += _body(parts.finish, {*read}, _elements(found), known, z)
    finish += [f"    {name}_at[i] = {name}_;" for name, kind in read.items() if not kind.startswith("const")]
    finish += [f"    return {z}_;"] * population.spikes
    spike = " Returns its spike, 0 or 1." * population.spikes
    return "\n".join(
        [
            *texts,
            f"// The rest of its step, after all that it receives was added.{spike}",
            _signature("int32_t" if population.spikes else "void", f"finish_{own}", found),
            *("{", *finish, "}", ""),
        ]
    )


def _elements(found: Arrays) -> dict[str, str]:
    return {name: f"{name}_at[i]" for name in found}


def _signature(returned: str, name: str, found: Arrays) -> str:
    given = ["uint32_t i", *(f"{kind}{array}_at" for array, (kind, _) in found.items())]
    return listed(f"static inline {returned} {name}(", given, ")")


def limits(population: Population, most: int, name: str) -> dict[str, str]:
    """`limit_<population>_<variable>(i)` of each state variable whose limit in a loaded state is not `most`.

    Returns {variable: C}.
    """
    module, own = population.module, population.name
    if not hasattr(module, "limits"):
        return {}
    found = trace(module.limits)
    values = {table: f"lnp_{name}_tables.{own}_{table}[i]" for table in module.TABLES}
    values["most"] = str(most)
    functions = {}
    for variable, limit in zip(module.STATE, found.returns, strict=True):
        if limit != "most":
            body = "\n".join(_body(found.only(limit).statements, set(), values, forms(population)))
            if "[i]" not in body:
                body = f"    (void)i;\n{body}"
            functions[variable] = f"""// Of a loaded state, generated from lnp_edge/neurons/{population.neuron}.py.
static inline uint32_t limit_{own}_{variable}(uint32_t i)
{{
{body}
    return (uint32_t){limit}_;
}}
"""
    return functions


def reachable(population: Population, drives: list[int], name: str) -> str:
    """`reach_<population>`: for each neuron the limits of a loaded state, and a function for each variable's.

    drives : the largest |drive| of each neuron
    """
    own, module = population.name, population.module
    tables = zip(*(population.params[table].tolist() for table in module.TABLES), strict=True)
    rows = [module.reachable(drive, *row) for drive, row in zip(drives, tables, strict=True)]
    text = wrap([f"{{{', '.join(map(str, row))}}}" for row in rows])
    functions = [
        f"""static inline uint32_t limit_{own}_{variable}(uint32_t i)
{{
    return reach_{own}[i][{k}];
}}
"""
        for k, variable in enumerate(module.STATE)
    ]
    title = f"// Of a loaded state, computed by lnp_edge/neurons/{population.neuron}.py; see lnp_state.h."
    head = f"static const LNP_FLASH uint32_t reach_{own}[{population.n}][5] = {{"
    return "\n".join([title, head, text, "};", "", *functions])


def encoder(encoder: str, tables: str) -> str:
    """`encode_channel(k, count)`: turns a sensor count of channel k into network input.

    encoder : its name;  tables : what a parameter's array is called in C, but for the parameter
    """
    module = plugins.get("lnp_edge.encoders", encoder)
    found = trace(module.encode)
    found.require(("count", *module.PARAMS), found.returns[:1], encoder)
    return "\n".join(
        [
            f"// The encoder, generated from lnp_edge/encoders/{encoder}.py: turns a count into network input.",
            "static inline int32_t encode_channel(uint32_t k, int32_t count)",
            "{",
            *_body(found.statements, set(), {param: f"{tables}{param}[k]" for param in module.PARAMS}),
            f"    return {found.returns[0]}_;",
            "}",
            "",
        ]
    )


def even(model: QuantizedModel) -> int:
    """The number of inputs, made even: a layout may read two at once."""
    return len(model.inputs) + len(model.inputs) % 2


def sense(model: QuantizedModel, name: str, encoded: bool, by_hand: str) -> str:
    """`sense(s, input, counts)`: the input of one step, of the counts or of a front end's features.

    encoded : whether it is encoded here, not where it is read
    by_hand : a call that encodes counts, and returns how many
    """
    front, c = model.front, len(model.channels)
    rest = f"    input[{len(model.inputs)}] = 0;\n" if even(model) > len(model.inputs) else ""
    if front.stacks:
        return f"""LNP_PHASE void sense(int16_t *input, const int16_t *counts)
{{
{assigned("    uint32_t k", by_hand)}
    LNP_NO_UNROLLING
    for (; k < {len(model.inputs)}u; k++) {{
        input[k] = (int16_t)encode_channel(k, counts[k]);
    }}
{rest}}}
"""
    found, state, count = front.trace, list(front.state), len(front.features)
    results = [f"{result}_" for result in found.returns]
    features, kept = results[:count], zip(state, results[count:], strict=True)

    used = {arg for statement in found.statements for arg in statement.args} | set(found.returns)

    def read(argument: str, value: str) -> list[str]:
        """Its declaration; none for one that is never used, of which compilers warn."""
        return [f"        const int32_t {argument}_ = {value};"] if argument in used else []

    def at(k: int) -> str:
        return "c" if k == 0 else f"{k * c}u + c"

    def stored(place: str, value: str) -> str:
        return f"(int16_t)encode_channel({place}, {value})" if encoded else f"(int16_t){value}"

    return "\n".join(
        [
            f"// The front end, generated from lnp_edge/frontends/{front.kind}.py.",
            f"LNP_APART void sense(lnp_{name}_t *s, int16_t *input, const int16_t *counts)",
            "{",
            f"    for (uint32_t c = 0; c < {c}u; c++) {{",
            *read("first", "s->t == 0"),
            *(line for k in range(front.frame) for line in read(f"x{k}", f"counts[{at(k)}]")),
            *(line for k, variable in enumerate(state) for line in read(f"s{k}", f"s->front_{variable}[c]")),
            *(line for k, p in enumerate(front.ranges) for line in read(f"p{k}", f"lnp_{name}_tables.front_{p}[c]")),
            *(f"    {line}" for line in _body(found.statements, set(found.args), {})),
            *(f"        input[{at(k)}] = {stored(at(k), value)};" for k, value in enumerate(features)),
            *(f"        s->front_{variable}[c] = {value};" for variable, value in kept),
            "    }",
            rest + "}",
            "",
        ]
    )


# How the tables of a population that hold what a leak leaves are used: by lnp_leak, or by lnp_leak_half.
Forms = dict[str, str]


def forms(population: Population) -> Forms:
    leaks = [name for name, stored in population.module.TABLES.items() if stored.form != "state"]
    return {name: "leak_half" if population.params[name].max(initial=0) <= HALF else "leak" for name in leaks}


def _body(
    statements: Iterable[Statement],
    local: set[str],
    tables: dict[str, str],
    forms: Forms | None = None,
    spike: str = "",
) -> list[str]:
    """One line of C per statement. Locals end in _, so that no Python name collides with a C name.

    local : the variables declared so far;  tables : argument to the table element it stands for
    spike : the name of the spike. What is added only where it is 1 is a branch that is seldom taken, or ""
    """
    lines, listed = [], list(statements)
    added = _with_spikes(listed, spike, local)
    for k, statement in enumerate(listed):
        if statement in added.values():
            continue
        given = statement
        if k in added:
            given = replace(statement, args=(statement.target, added[k].args[1]))
        right = _call(given, local, tables, forms or {})
        left = f"{statement.target}_" if statement.target in local else f"int32_t {statement.target}_"
        local.add(statement.target)
        if k in added:
            lines += [f"    if (LNP_RARELY({spike}_ != 0)) {{", f"        {left} = {right};"]
            lines += [f"        LNP_OPAQUE({left});", "    }"]
        else:
            lines.append(f"    {left} = {right};")
    return lines


def _with_spikes(statements: list[Statement], spike: str, state: set[str]) -> dict[int, Statement]:
    """What only a spike adds to a variable, or subtracts: {place of that statement: gate or product of the spike}.

    state : variables that are kept, and so are no mere step on the way
    """
    targets, found = [one.target for one in statements], {}
    if [one.op for one in statements if one.target == spike] != ["greater"]:  # then it is 0 or 1
        return {}
    for k, one in enumerate(statements):
        uses = [m for m, other in enumerate(statements) if one.target in other.args]
        if one.op not in ("gate", "mul") or one.args[0] != spike or one.target in state:
            continue
        if targets.count(one.target) != 1 or len(uses) != 1:
            continue
        m, use = uses[0], statements[uses[0]]
        orders = [(use.target, one.target), *[(one.target, use.target)] * (use.op == "add")]
        if use.op in ("add", "sub") and use.args in orders and one.args[1] not in targets[k:m]:
            found[m] = one
    return found


def _call(statement: Statement, local: set[str], tables: dict[str, str], forms: Forms) -> str:
    def value(arg: str | int, left: bool = False) -> str:
        """left : whether it is what a leak leaves, in place of what it removes"""
        if isinstance(arg, int):
            return str(65536 - arg if left else arg)
        # The spec's ranges keep every table within int32.
        plain, stored_left = f"{arg}_" if arg in local else tables.get(arg, arg), arg in forms and arg not in local
        return plain if left == stored_left else f"65536 - {plain}"

    op, args = statement.op, statement.args
    if op != "leak":
        return f"lnp_{op}({', '.join(map(value, args))})"
    c = args[1]
    half = c <= HALF if isinstance(c, int) else c not in local and forms.get(c) == "leak_half"
    return f"lnp_{'leak_half' if half else 'leak'}({value(args[0])}, {value(c, True)})"
