"""The generator: what it writes, what it refuses, and that the same model gives the same bytes.

`PYTHONPATH=tests python tests/firmware_gen/test_generate.py` writes tests/expected anew after an intended change.
"""

import json
import os
import re
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import need
from elsewhere import as_c
from tiny import MODELS, tiny_model, tiny_stack

from lnp_edge import boards
from lnp_edge.base.errors import BoardError, ConfigError, DoesNotFit, ModelError
from lnp_edge.firmware_gen import commands, folder, link, network, neuron
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.spec import layout
from lnp_edge.spec.board import Region
from lnp_edge.spec.model import CSR
from lnp_edge.spec.ops import add, gate, greater, leak, mul, sub
from lnp_edge.spec.trace import Statement, trace

ROOT = Path(__file__).parents[2]
EXPECTED = ROOT / "tests" / "expected"
GENERATED = (
    "lnp_net.h", "lnp_net.c", "lnp_net_tables.h", "lnp_net_tables.c", "lnp_wire.h", "lnp_config.h", "lnp.ld",
    "Makefile", "README.md",
)  # fmt: skip


def board(**changes):
    return replace(boards.get("cortex-m4"), **changes)


def without_build(text):
    """That number changes with each file of C."""
    return re.sub(r"(#define LNP_BUILD) 0x[0-9A-F]{8}u", r"\1 0x...", text)


@pytest.mark.parametrize("name", GENERATED)
def test_generated_files_are_the_expected_ones(name):
    text = without_build(generate(tiny_model(), board())[name])
    assert text == (EXPECTED / f"{name}.txt").read_text(), f"intended? python {Path(__file__).name}"


@pytest.mark.parametrize("app", [False, True])
def test_the_readme_names_files_of_its_folder_and_each_that_a_program_needs(app):
    files = generate(tiny_model(), board(), app=app)
    named = set(re.findall(r"`([a-z_0-9]+\.(?:c|h))`", files["README.md"]))
    assert named <= set(files)
    assert "`lnp_net.c`" in files["README.md"] and ("`main.c`" in files["README.md"]) == app
    copied = files["README.md"].partition("Copy ")[2].partition("They need")[0]
    included = set(re.findall(r'#include "(\w+\.h)"', "".join(files[name] for name in named if name in copied)))
    assert included <= set(re.findall(r"`([a-z_0-9]+\.h)`", copied))


def test_what_the_c_of_a_network_includes_travels_with_it_by_being_there(tmp_path, monkeypatch):
    for name, includes in {"a.h": "b.h", "b.h": "none.h", "b.c": "c.h", "c.h": "a.h", "d.h": "a.h"}.items():
        (tmp_path / name).write_text(f'int x;\n#include "{includes}"\n')
    monkeypatch.setattr(network, "CSRC", tmp_path)
    assert list(network.shared({"lnp_net.c": '#include "a.h"\n#include "lnp_net.h"\n'})) == ["a.h", "b.c", "b.h", "c.h"]


def test_the_same_model_gives_the_same_bytes_in_any_process(elsewhere):
    assert elsewhere["c"] == as_c()


EVIL = '*/ #include "/etc/passwd"\n$(shell id) \\ ??/ %s é'


def test_text_of_the_user_reaches_the_files_as_names_alone():
    model = replace(tiny_model(), channels=(EVIL,) * 3, classes=(EVIL,) * 4, provenance={EVIL: EVIL})
    plain, evil = generate(tiny_model(), board()), generate(model, board())
    assert [path for path in plain if plain[path] != evil[path]] == ["lnp_net.h", "lnp_config.h", "lnp_manifest.json"]
    pairs = zip(plain["lnp_net.h"].splitlines(), evil["lnp_net.h"].splitlines(), strict=True)
    differ = [line.split("{")[0] for line, other in pairs if line != other]
    assert differ == ["#define LNP_NET_CHANNEL_NAMES ", "#define LNP_NET_CLASS_NAMES "]


def test_names_in_c_are_the_names(tmp_path):
    need("gcc")
    model = replace(tiny_model(n_out=3), classes=("walk", EVIL, "\u6b69\u304f 7"))
    for path, text in generate(model, boards.get("host")).items():
        (tmp_path / path).write_text(text)
    main = """#include <stdio.h>
#include "lnp_net.h"
static const char *const names[] = LNP_NET_CLASS_NAMES;
int main(void) { for (int k = 0; k < 3; k++) { fputs(names[k], stdout); putchar(0); } }
"""
    (tmp_path / "names.c").write_text(main)
    subprocess.run(["gcc", "-trigraphs", "-Werror", "-o", "names", "names.c"], cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "names"], capture_output=True, check=True).stdout
    assert said.decode().split("\0")[:-1] == list(model.classes)


@pytest.mark.parametrize("kind", MODELS)
def test_files_are_ascii_without_trailing_blanks(kind):
    for board in map(boards.get, boards.names()):
        if link.scarce(board) and kind == "stack":
            continue  # it does not fit
        for path, text in generate(MODELS[kind](), board).items():
            assert text.isascii() and text.endswith("\n"), path
            assert not any(line != line.rstrip() for line in text.splitlines()), path


@pytest.mark.parametrize(
    "name",
    ["", "Net", "1net", "int", "a-b", "../x", "a b", "x" * 25, "net\n", "link", "crc32", "table", "wire", "state"],
)
def test_a_name_that_is_no_c_name_is_refused(name):
    with pytest.raises(ConfigError, match="cannot name a model"):
        generate(tiny_model(), board(), name)


def test_an_unknown_uart_driver_is_refused_with_those_there_are():
    for uart in ("nothing", "cortex_m", "memory", "..", "posix.c"):
        with pytest.raises(BoardError, match="no UART driver") as e:
            generate(tiny_model(), board(uart=uart))
        assert "available: " in e.value.try_next and {"cmsdk_uart", "posix"} <= set(re.findall(r"\w+", str(e.value)))


def test_a_model_larger_than_the_board_is_refused_with_both_sizes():
    needed = layout.table_bytes(tiny_model())
    with pytest.raises(DoesNotFit, match=f"needs {needed} B flash for its tables, cortex-m4 has 1024"):
        generate(tiny_model(), board(flash=Region(0, 1024)))
    with pytest.raises(DoesNotFit, match="B RAM or more for state, link and stack, cortex-m4 has 2048"):
        generate(tiny_model(), board(ram=Region(0x20000000, 2048)))


def test_a_model_without_synapses_or_channels_in_use_is_possible():
    model = tiny_model()
    none = replace(model.projection("rec"), w=CSR.from_dense(np.zeros((40, 40), np.int32)))
    parts = tuple(none if p.name == "rec" else p for p in model.projections)
    files = generate(replace(model, projections=parts).check(), board())
    assert ".w_rec_weights = {\n        0,\n    }," in files["lnp_net_tables.c"]
    assert "{&lnp_net_tables.w_rec_weights[0], 0u}," in files["lnp_net_tables.c"]


def test_a_step_holds_as_much_as_the_payload_allows():
    model, usual, small = tiny_model(), board(), boards.get("arduino-uno")
    for on, payload in ((usual, 512), (small, 128)):
        assert link.max_payload(model, on) == payload
        assert (link.max_steps(model, on), link.max_digests(model, on)) == (
            (payload - 10) // 6,
            (payload - 16) // 4 - 4,
        )
    wide = tiny_model(n_in=1024, n_out=256)
    for on in (usual, small):
        found = link.max_payload(wide, on), link.max_steps(wide, on), link.max_digests(wide, on)
        assert found == (10 + 2048, 1, 254)


# --- the folder


def test_a_folder_is_written_twice_and_keeps_what_was_built(tmp_path):
    target = tmp_path / "new" / "fw"
    write(generate(tiny_model(), board()), target)
    (target / "build").mkdir()
    (target / "build" / "x.elf").write_text("image")
    write(generate(tiny_model(seed=2), board(), "other"), target)
    assert (target / "lnp_other.c").exists() and not (target / "lnp_net.c").exists()
    assert (target / "build" / "x.elf").read_text() == "image"
    found = {p.name for p in target.iterdir()} - {"build"}
    assert found == set(generate(tiny_model(seed=2), board(), "other"))


@pytest.mark.parametrize("foreign", ["notes.txt", ".hidden", "sub/"])
def test_a_folder_with_foreign_files_is_refused_and_left_alone(tmp_path, foreign):
    for first in (False, True):
        target = tmp_path / str(first)
        target.mkdir()
        if first:
            write(generate(tiny_model(), board()), target)
        path = target / foreign
        path.mkdir() if foreign.endswith("/") else path.write_text("mine")
        before = snapshot(target)
        with pytest.raises(ConfigError, match="lnp did not write"):
            write(generate(tiny_model(seed=2), board()), target)
        assert snapshot(target) == before


def test_an_edited_file_is_not_overwritten(tmp_path):
    write(generate(tiny_model(), board()), tmp_path)
    (tmp_path / "main.c").write_text("mine")
    with pytest.raises(ConfigError, match=r"main\.c was edited"):
        write(generate(tiny_model(), board()), tmp_path)
    assert (tmp_path / "main.c").read_text() == "mine"


def test_a_link_in_the_folder_is_not_followed(tmp_path):
    target, outside = tmp_path / "fw", tmp_path / "main.c"
    write(generate(tiny_model(), board()), target)
    (target / "main.c").rename(outside)
    (target / "main.c").symlink_to(outside)
    with pytest.raises(ConfigError, match=r"holds 'main\.c'"):
        write(generate(tiny_model(), board()), target)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "fw"
    write(generate(tiny_model(), board()), target)
    before = snapshot(target)
    real, calls = Path.write_bytes, []

    def full(self, data):
        calls.append(self)
        if len(calls) == 5:
            real(self, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match="No space left"):
        write(generate(tiny_model(seed=2), board()), target)
    assert snapshot(target) == before
    calls.clear()
    with pytest.raises(ConfigError, match="No space left"):
        write(generate(tiny_model(), board()), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_interrupted_write_can_be_repeated(tmp_path, monkeypatch):
    files = generate(tiny_model(seed=2), board(), "other")
    write(generate(tiny_model(), board()), tmp_path)
    real, calls = os.replace, []

    def die(a, b):
        calls.append(a)
        if len(calls) == 7:
            raise KeyboardInterrupt
        real(a, b)

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(os, "replace", die)
        write(files, tmp_path)
    write(files, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == set(files)


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: m | {"name": "../../etc"},
        lambda m: m | {"board": "../x"},
        lambda m: m | {"format": 2},
        lambda m: m | {"files": {"../main.c": "0" * 64}},
        lambda m: m | {"files": ["main.c"]},
        lambda m: {k: v for k, v in m.items() if k != "board"},
        lambda m: [m],
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, damage):
    write(generate(tiny_model(), board()), tmp_path)
    path = tmp_path / folder.MANIFEST
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(ConfigError, match="damaged"):
        folder.read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", "x" * 100_000])
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    (tmp_path / folder.MANIFEST).write_text(text)
    with pytest.raises(ConfigError):
        folder.read_manifest(tmp_path)


def snapshot(path):
    return {str(p.relative_to(path)): p.read_bytes() if p.is_file() else None for p in path.rglob("*")}


# --- the printer


def good(x, c):
    """Its docstring."""
    x = leak(x, c)
    y = add(x, -7)
    return x, y


def test_a_trace_lists_the_operations():
    found = trace(good)
    assert found.args == ("x", "c")
    assert found.statements == (Statement("x", "leak", ("x", "c")), Statement("y", "add", ("x", -7)))
    assert found.returns == ("x", "y")


def jumps(v, w, x, c):
    z = greater(v, x)
    kick = gate(z, x)
    v = sub(v, kick)
    jump = mul(z, c)
    w = add(jump, w)
    return v, w, z


def jumps_by_what_changes(v, w, x):
    z = greater(v, x)
    kick = gate(z, w)
    w = add(w, x)
    v = sub(v, kick)
    return v, w, z


def jumps_by_what_is_kept(v, w, x):
    z = greater(v, x)
    w = gate(z, x)
    v = sub(v, w)
    return v, w, z


def jumps_twice(v, w, x):
    z = greater(v, x)
    kick = gate(z, x)
    v = sub(v, kick)
    w = add(w, kick)
    return v, w, z


def jumps_from(v, w, x):
    z = greater(v, x)
    kick = gate(z, x)
    v = sub(kick, v)
    return v, w, z


def jumps_by_more(v, w, x):
    z = sub(v, x)
    kick = mul(z, x)
    v = sub(v, kick)
    return v, w, z


@pytest.mark.parametrize(
    ("step", "branches"),
    [
        (jumps, ["v_ = lnp_sub(v_, x)", "w_ = lnp_add(w_, c)"]),
        *((other, []) for other in (jumps_by_what_changes, jumps_by_what_is_kept, jumps_twice, jumps_from)),
        (jumps_by_more, []),
    ],
)
def test_what_a_spike_adds_is_a_branch_if_nothing_else_needs_it(step, branches):
    lines = neuron._body(trace(step).statements, {"v", "w"}, {}, spike="z")
    assert [line.strip(" ;") for before, line in pairwise(lines) if "LNP_RARELY" in before] == branches
    assert sum("lnp_gate" in line or "lnp_mul" in line for line in lines) == (not branches)


def bad_operator(x, c):
    x = add(x, c)
    x = x + 1
    return x


def bad_branch(x, c):
    if c:
        x = add(x, c)
    return x


def bad_nesting(x, c):
    x = add(add(x, c), c)
    return x


def bad_unknown(x, c):
    x = abs(x)
    return x


def bad_use(x, c):
    x = add(x, nothing)  # noqa: F821
    return x


def bad_count(x, c):
    x = add(x)
    return x


def bad_float(x, c):
    x = add(x, 1.5)
    return x


def bad_size(x, c):
    x = add(x, 2147483648)
    return x


def bad_keyword(x, c):
    x = add(a=x, b=c)
    return x


def bad_tuple(x, c):
    x, c = add(x, c)
    return x


def bad_return(x, c):
    return add(x, c)


def bad_end(x, c):
    x = add(x, c)


def bad_default(x, c=3):
    x = add(x, c)
    return x


BAD = {f.__name__: f for f in list(globals().values()) if getattr(f, "__name__", "").startswith("bad_")}


@pytest.mark.parametrize("name", BAD)
def test_any_other_form_is_refused_with_file_and_line(name):
    with pytest.raises(ConfigError, match=r"test_generate\.py:\d+: ") as e:
        trace(BAD[name])
    line = int(str(e.value).split(".py:")[1].split(":")[0])
    first = BAD[name].__code__.co_firstlineno
    assert first <= line <= first + 4
    if name == "bad_operator":
        assert line == first + 2


def test_an_operation_of_another_meaning_is_refused():
    space = {"add": lambda a, b: a - b}
    program = trace.__globals__["FunctionType"](good.__code__, good.__globals__ | space, "good")
    with pytest.raises(ConfigError, match="is not an operation"):
        trace(program)


def test_a_neuron_whose_step_disagrees_with_its_lists_is_refused(monkeypatch):
    from lnp_edge.neurons import cuba_lif

    monkeypatch.setattr(cuba_lif, "STATE", ("v", "i_syn"))
    with pytest.raises(ConfigError, match="it takes"):
        neuron.neuron(tiny_model().population("hidden"), "net")


def other_readout(monkeypatch, state, step):
    """li with another state variable and the step that has it."""
    from lnp_edge.neurons import li

    monkeypatch.setattr(li, "STATE", (state,))
    monkeypatch.setattr(li, "step", step)


def test_a_state_variable_cannot_be_called_as_the_spikes_are(monkeypatch):
    def step(z, drive, c, bias):
        z = add(z, drive)
        return z

    other_readout(monkeypatch, "z", step)
    with pytest.raises(ConfigError, match="a state variable is called 'z'"):
        neuron.neuron(tiny_model().population("out"), "net")


# --- names that populations and projections bring into C


def renamed(model, populations=(), projections=()):
    """The model with other names for some of its parts, all projections going where they went."""
    of, via = dict(populations), dict(projections)
    parts = tuple(replace(p, name=of.get(p.name, p.name)) for p in model.populations)
    joined = tuple(
        replace(p, name=via.get(p.name, p.name), source=of.get(p.source, p.source), target=of.get(p.target, p.target))
        for p in model.projections
    )
    return replace(model, populations=parts, projections=joined)


def test_names_that_meet_when_they_are_joined_are_refused():
    """Encoder, matrices, tables and state share one space of names: a joined name stands for one thing."""
    stack = tiny_stack()
    assert renamed(stack, {"second": "w"}.items(), {"first_out": "i_syn"}.items()).check()
    with pytest.raises(ModelError, match="w_v names two things"):
        renamed(stack, {"second": "w"}.items(), {"first_out": "v"}.items()).check()
    with pytest.raises(ModelError, match="w_v_th names two things"):
        renamed(stack, {"second": "w"}.items(), {"first_out": "v_th"}.items()).check()


def test_a_population_that_makes_a_word_of_c_is_refused(monkeypatch):
    def step(cast, drive, c, bias):
        cast = add(cast, drive)
        return cast

    other_readout(monkeypatch, "cast", step)
    with pytest.raises(ConfigError, match="'static_cast' means something in C"):
        generate(renamed(tiny_model(), {"out": "static"}.items()), board())


def test_names_of_projections_and_populations_may_be_any_that_the_model_allows(tmp_path):
    """Words of C, names of our own functions and variables, the names that most look like others."""
    need("gcc")
    words = ("int", "encode", "s", "drive", "t", "first_v", "lnp", "input_x", "step", "add_row")
    stack = tiny_stack()
    for k in range(0, len(words), 2):
        populations = {"first": words[k], "out": words[k + 1]}
        projections = {"input_first": words[k], "first_out": words[k + 1], "third_third": "for"}
        model = renamed(stack, populations.items(), projections.items()).check()
        for path, text in generate(model, boards.get("host")).items():
            (tmp_path / path).write_text(text)
        call = ["gcc", "-std=c11", "-c", *commands.WARNINGS, "lnp_net.c", "-o", "net.o"]
        subprocess.run(call, cwd=tmp_path, check=True)


def test_the_header_says_which_version_wrote_it():
    import lnp_edge

    assert f'#define LNP_VERSION "{lnp_edge.__version__}"' in generate(tiny_model(), board())["lnp_net.h"]


if __name__ == "__main__":
    EXPECTED.mkdir(exist_ok=True)
    for name in GENERATED:
        (EXPECTED / f"{name}.txt").write_text(without_build(generate(tiny_model(), board())[name]))


@pytest.mark.parametrize("name", ["decision", "level", "count", "table", "push"])
def test_a_model_cannot_have_the_name_of_a_type_of_the_runtime(name):
    with pytest.raises(ConfigError):
        generate(tiny_model(), board(), name)
