"""lnp fuzz: silent on the firmware, and loud where a bound is taken away. corpus.txt keeps what was found then."""

import json
from pathlib import Path

import pytest
from conftest import need
from test_c_model import near_int32
from tiny import tiny_model, tiny_stack

from lnp_edge.base.errors import ConfigError
from lnp_edge.cli import main
from lnp_edge.commands import _fuzz
from lnp_edge.interchange import onnx_file

CORPUS = Path(__file__).parent / "corpus.txt"
MODELS = {"layer": tiny_model, "stack": tiny_stack, "at int32": lambda: near_int32(1)}


@pytest.fixture(scope="module", params=MODELS)
def fuzzer(request, tmp_path_factory):
    need("gcc")
    model = MODELS[request.param]()
    return model, _fuzz.build(model, tmp_path_factory.mktemp("fuzz"))


@pytest.mark.slow
@pytest.mark.parametrize("target", _fuzz.TARGETS)
def test_nothing_is_found_in_what_comes_from_outside(fuzzer, target):
    model, program = fuzzer
    inputs = _fuzz.corpus(model, target, _fuzz.read(CORPUS)[target])
    assert _fuzz.run(program, model, target, inputs, seed=1, first=0, count=6000) is None


# A bound that is taken away: the file, what stands there, what is put there instead, the target and the model.
BOUNDS = {
    "of a frame": ("lnp_cobs.c", "d->length >= d->most", "d->length > d->most", "cobs", "layer"),
    "of a run without a zero": ("lnp_cobs.c", "run < LONGEST_RUN && ", "", "cobs", "layer"),
    "of the request": ("lnp_link.c", "sizeof link->request);", "sizeof link->request + 8u);", "link", "layer"),
    "of the state": ("lnp_serve.c", "count > (LNP_MAX_PAYLOAD - LNP_REPLY_STATE_REST) / 4u || ", "", "link", "stack"),
    "of a read": ("lnp_serve.c", "offset > table->bytes || count > table->bytes - offset", "false", "link", "layer"),
    "of a fill": (
        "lnp_selftest.c",
        "    const uint32_t count = length - LNP_REQUEST_FILL_REST;\n    if (offset > LNP_SAVE_BYTES || count >",
        "    const uint32_t count = length - LNP_REQUEST_FILL_REST;\n    if (false && count >",
        "link",
        "layer",
    ),
    "of a saved value": ("lnp_state.h", ": word) <= most;", ": word) <= 2u * most;", "load", "at int32"),
    "of spikes": ("lnp_state.h", "return used == 0 || ", "return true || ", "load", "layer"),
    "of the CRC": (
        "lnp_state.h",
        "lnp_get_u32(crc) != lnp_crc32(0, from, LNP_SAVE_BYTES - SAVE_CRC)",
        "!crc",
        "load",
        "layer",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDS)
def test_without_a_bound_an_input_is_found_and_comes_back(tmp_path, name):
    need("gcc")
    file, old, new, target, kind = BOUNDS[name]
    model = MODELS[kind]()

    def change(path, text):
        assert path != file or text.count(old) == 1
        return text.replace(old, new) if path == file else text

    program = _fuzz.build(model, tmp_path, change)
    inputs = _fuzz.corpus(model, target, [])
    found = _fuzz.run(program, model, target, inputs, seed=1, first=0, count=20_000)
    assert found is not None and found.input
    print(target, found.input.replace(" ", ""), "#", name, found.what)
    again = _fuzz.run(program, model, target, inputs, seed=1, first=found.number, count=1)
    assert again is not None and again.input == found.input


def test_the_kept_corpus_is_read_and_a_wrong_line_is_refused(tmp_path):
    kept = _fuzz.read(CORPUS)
    assert all(kept[target] for target in _fuzz.TARGETS)
    for line in ("cobs 0", "nothing 00", "load 0x00"):
        (tmp_path / "c.txt").write_text(f"# fine\ncobs 00 01\n{line}\n")
        with pytest.raises(ConfigError, match=r"line 3 of .*c\.txt"):
            _fuzz.read(tmp_path / "c.txt")


def test_the_command_counts_and_tells_what_it_finds(tmp_path, capsys, monkeypatch):
    need("gcc")
    onnx_file.save(tiny_model(), tmp_path / "m.onnx")
    words = ["fuzz", str(tmp_path / "m.onnx"), "-n", "200", "--target", "cobs", "--corpus", str(CORPUS)]
    assert main(words) == 0
    assert capsys.readouterr().out == "nothing found in 200 of cobs (seed 1)\n"
    found = _fuzz.Finding("cobs", 1, 7, "wrong: [x]", "01 02")
    monkeypatch.setattr(_fuzz, "run", lambda *args: found)
    monkeypatch.setattr(_fuzz, "build", lambda *args: None)  # it is built once
    assert main(words) == 1
    assert capsys.readouterr().out == "wrong: [x]\ncobs 01 02\n"
    assert main([*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["finding"]["number"] == 7


@pytest.mark.parametrize("words", [["-n", "0"], ["--seed", "-1"], ["--target", "x"]])
def test_wrong_options_are_refused_in_two_lines(tmp_path, capsys, words):
    onnx_file.save(tiny_model(), tmp_path / "m.onnx")
    assert main(["fuzz", str(tmp_path / "m.onnx"), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 2
