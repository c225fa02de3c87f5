"""The libraries of lnp generate --as, built as their users build them, decide what the reference decides."""

import json
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from conftest import need
from exported import KINDS, WARNINGS, model, run
from test_build import with_loop_by_index
from test_example import RULE
from tiny import tiny_counts, tiny_front, tiny_loop, tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import ConfigError
from lnp_edge.cli import main
from lnp_edge.firmware_gen import commands, library
from lnp_edge.firmware_gen.folder import MANIFEST, read_manifest, write
from lnp_edge.firmware_gen.generate import generate
from lnp_edge.interchange import onnx_file
from lnp_edge.runtime.host import infer
from lnp_edge.runtime.reference import Reference
from lnp_edge.spec.quantity import Quantity


def test_the_kinds_are_found_and_on_their_page():
    page = (Path(__file__).parents[2] / "docs/libraries.md").read_text()
    assert {"arduino", "cmake", "platformio"} <= set(KINDS) <= set(re.findall(r"^\| `([\w-]+)` \|", page, re.M))


@pytest.mark.parametrize("kind", KINDS)
def test_a_library_has_no_main_a_licence_and_a_page(made, kind):
    folder = made(kind)
    assert "SPDX-License-Identifier: Apache-2.0" in (folder / "LICENSE").read_text()
    page = (folder / "README.md").read_text()
    assert "## Use it in a project" in page and "$" not in re.sub(r"\$\{?[A-Z_]{2,}\}?|\$<", "", page)
    code = [p for p in folder.rglob("*.c") if not {"example", "examples", "samples"} & set(p.relative_to(folder).parts)]
    assert code and not any(re.search(r"\bmain\(", p.read_text()) for p in code)
    assert all(p.name != "Makefile" for p in folder.rglob("*"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_is_c_whatever_the_classes_are_called(made, kind):
    for path in made(kind).rglob("*"):
        if path.suffix in (".c", ".ino", ".cpp"):
            text = path.read_text()
            assert "??" not in text and "$" not in text
            assert text.isascii() or path.name.startswith("lnp_")


def test_all_that_a_linker_sees_has_the_name_of_the_network(made, tmp_path):
    need("gcc")
    folder = made("cmake", "gait")
    for source in sorted((folder / "src").glob("*.c")):
        out = tmp_path / f"{source.stem}.o"
        run("gcc", "-std=c11", *WARNINGS, "-I", folder / "include", "-c", source, "-o", out)
    names = run("nm", "--defined-only", "--extern-only", *sorted(tmp_path.glob("*.o")))
    found = re.findall(r"^[0-9a-f]+ [A-Z] (\w+)$", names, re.M)
    assert "lnp_gait_push" in found and "lnp_gait_crc32" in found
    assert all(name.startswith("lnp_gait_") for name in found)


def test_the_code_is_the_same_whether_or_not_a_build_knows_the_flag(tmp_path):
    """Without commands.KEEP_NULL gcc 12.2 drops sums of more than 256 neurons: see test_build.py, where the loop is
    from. Arduino lets no library set a flag."""
    need("arm-none-eabi-gcc")
    write(library.generate(tiny_model(n=300, density=0.05), "arduino"), tmp_path)
    with_loop_by_index(tmp_path / "src")
    compiler = ("arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb", "-ffreestanding", "-std=gnu11", "-Os")
    code = []
    for flag in ([], [commands.KEEP_NULL]):
        run(*compiler, *flag, "-c", tmp_path / "src/lnp_net.c", "-o", tmp_path / "x.o")
        run("arm-none-eabi-objcopy", "-O", "binary", "-j", ".text", tmp_path / "x.o", tmp_path / "x.bin")
        code.append((tmp_path / "x.bin").read_bytes())
    assert code[0] == code[1]


@pytest.mark.parametrize("kind", KINDS)
def test_generating_again_replaces_what_lnp_wrote_and_nothing_else(made, kind):
    folder = made(kind)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert made(kind) == folder and before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    write(library.generate(model(), kind, "other"), folder)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == set(
        library.generate(model(), kind, "other")
    )
    assert all(any(p.iterdir()) for p in folder.rglob("*") if p.is_dir())
    made(kind)
    deep = next(p for p in sorted(folder.rglob("*.[ch]")))
    deep.write_text("// mine\n")
    with pytest.raises(ConfigError, match="was edited"):
        made(kind)
    deep.unlink()
    (deep.parent / "mine.c").write_text("// mine\n")
    with pytest.raises(ConfigError, match=r"mine\.c', which lnp did not write"):
        made(kind)


def test_a_folder_of_another_kind_is_not_replaced(tmp_path):
    kinds = {kind: (lambda kind=kind: library.generate(model(), kind), f"a library for {kind}") for kind in KINDS}
    for name, app, what in (("program", False, "that answers"), ("app", True, "without the link of")):
        make = partial(generate, model(), boards.get("host"), app=app)
        kinds[name] = (make, f"a program {what} lnp verify")
    for there, (files, what) in kinds.items():
        folder = tmp_path / there
        write(files(), folder)
        before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for other, (others, this) in kinds.items():
            if other != there:
                with pytest.raises(ConfigError, match=rf"{there} holds {what}, this is {this}\n.*-o"):
                    write(others(), folder)
        assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        (folder / "mine.txt").write_text("")  # nobody is told to remove the folder that has it
        with pytest.raises(ConfigError, match=r"'mine\.txt', which lnp did not write"):
            write(kinds["program" if there != "program" else "cmake"][0](), folder)


def test_a_library_is_no_program(made, capsys):
    folder = made("cmake")
    for command in (["build", folder], ["flash", folder, "--dry-run"]):
        assert main(list(map(str, command))) == 2
        assert "is a library for cmake, not a program\n  its README.md" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        read_manifest(folder)
    assert json.loads((folder / MANIFEST).read_text())["library"] == "cmake"


def test_the_command_writes_a_library_and_says_what_it_cannot(tmp_path, capsys):
    onnx_file.save(model(), tmp_path / "m.onnx")
    at = ["generate", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "lib")]
    assert main([*at, "--as", "cmake", "--name", "gait"]) == 0
    told = capsys.readouterr().err
    assert (tmp_path / "lib/include/lnp_gait.h").is_file() and "README.md says how" in told
    assert "w_rec lies as " in told and "\nLoops in assembly with " in told
    for words, said in (
        (["--as", "cmak"], "did you mean 'cmake'? available: "),
        (["--as", "cmake", "--app"], "leave one of them out"),
        (["--as", "cmake", "--name", "decision"], "choose another --name"),
        (["--as", "cmake", "--name", "A b"], "a-z first"),
        (["--as", "cmake", "--board", "host"], "not allowed with"),
        ([], "required"),
    ):
        try:
            code = main([*at, *words])
        except SystemExit as e:  # of argparse
            code = e.code
        assert code == 2 and said in capsys.readouterr().err


QUANTITIES = (Quantity("degC", -1000.0, 0.005, False), Quantity("", 5.0, 0.5, False), Quantity("", 512.0, 0.01))
OTHERS = {
    "a forecast": lambda: tiny_loop(),
    "a forecast in units": lambda: replace(tiny_loop(), quantities=QUANTITIES).check(),
    "a stream with a rule": lambda: replace(tiny_model(5), hop=5, decision=RULE).check(),
    "frames": lambda: tiny_front("logdiff", 4),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_the_example_of_any_model_says_what_the_reference_says(tmp_path, kind):
    need("gcc")
    of, folder = OTHERS[kind](), tmp_path / "lib"
    write(library.generate(of, "cmake"), folder)
    counts = tiny_counts(of, 200).reshape(-1, len(of.channels))[:200]
    sources = ("example/main.c", *sorted((folder / "src").glob("*.c")))
    run("gcc", "-std=c11", *WARNINGS, "-O1", "-fsanitize=undefined,address", "-I", "include", "-o", "x", *sources,
        cwd=folder)  # fmt: skip
    said = run(folder / "x", input="".join(",".join(map(str, row)) + "\n" for row in counts)).splitlines()
    expected = list(infer(Reference(of), of, counts))
    lit = [p.y[0] > 0 if of.forecast else p.label == 0 and not p.unknown for p in expected]
    assert [(line.split()[0] == "on", *map(int, line.split()[1:])) for line in said] == [
        (on, *p.y) for on, p in zip(lit, expected, strict=True)
    ]
    if shutil.which("g++"):
        run("g++", "-std=c++11", *WARNINGS, "-fsyntax-only", "-x", "c++", "-I", folder / "include", "-",
            input='#include "lnp_net.h"\n#include "lnp_net.h"\n')  # fmt: skip
