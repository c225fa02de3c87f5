"""QEMU counts what unicorn counts; where it cannot count, the page is printed without it."""

import pickle
from contextlib import closing
from dataclasses import replace

import pytest
from conftest import need_for
from tiny import tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import BoardError
from lnp_edge.commands import _kernels, _measure, _qemu
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.runtime.code import Functions
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.emulator import Emulator


@pytest.mark.parametrize("toolchain", ["gcc", pytest.param("zig", marks=pytest.mark.slow)])
def test_qemu_counts_what_unicorn_counts_in_each_step_and_block(toolchain, tmp_path):
    model, calls, ran = tiny_model(), [], []
    counts = tiny_counts(model, 30)
    for name in ("cortex-m4", "mps2-an386"):
        need_for(name, toolchain)
        board = boards.get(name)
        write(generate(model, board), tmp_path / name)
        image = build(tmp_path / name, toolchain).image
        functions = Functions(image, _kernels.STEP)

        def count(device, steps, functions=functions):
            device.reset()
            device.steps(counts[:10])  # not counted
            with steps:
                device.steps(counts[10:])
            found = {}
            for block, times in steps.total.items():
                for address, _ in steps.instructions(block):
                    part = functions.name(address)
                    found[part] = found.get(part, 0) + times
            calls.append(steps.calls)
            ran.append(found)

        if board.start == "qemu":
            with _qemu.counting(board, image, _kernels.STEP) as (port, steps):
                count(Device(port, model), steps)
        else:
            with closing(Emulator(board, image)) as emulator:
                count(Device(emulator, model), emulator.count(_kernels.STEP))
    assert calls[0] == calls[1] and len(calls[0]) == 20
    assert ran[0] == ran[1] and sum(ran[0].values()) == sum(calls[0])


def test_a_qemu_without_plugins_is_told_in_its_words(tmp_path, monkeypatch):
    need_for("mps2-an386")
    model, board = tiny_model(), boards.get("mps2-an386")
    image = _measure.built(model, board, "gcc", tmp_path).image
    qemu = tmp_path / "qemu"
    qemu.write_text('#!/bin/sh\necho "qemu: -plugin: invalid option" >&2\nexit 1\n')
    qemu.chmod(0o755)
    monkeypatch.setattr(_qemu, "qemu_command", lambda board, image: [str(qemu)])
    with (
        pytest.raises(BoardError, match="qemu ended at once: qemu: -plugin: invalid option"),
        _qemu.counting(board, image, _kernels.STEP),
    ):
        pass


def test_more_calls_than_the_plugin_has_room_for_are_no_wrong_count_and_a_folder_may_have_a_comma(
    tmp_path, monkeypatch
):
    need_for("mps2-an386")
    model, board = tiny_model(), boards.get("mps2-an386")
    image = _measure.built(model, board, "gcc", tmp_path / "a,b").image
    with _qemu.counting(board, image, _kernels.STEP) as (port, steps), steps:
        Device(port, model).steps(tiny_counts(model, 3))
    assert len(steps.calls) == 3
    monkeypatch.setattr(_qemu, "_returns", lambda code, function: list(range(0, 18, 2)))
    with pytest.raises(BoardError, match="ended at once"), _qemu.counting(board, image, _kernels.STEP):
        pass


def test_what_qemu_cannot_count_is_left_out_with_a_line(monkeypatch, capsys):
    some = _kernels.Row("cuba_lif", 40, "c", "gcc", "12", "-O3", 4.0, 100.0, 900.0, {"f": 900.0}, 0.0, 0, 0, 1, 1, 1)

    def row(name, model, runs, settle, board, chain, more=()):
        if board.start == "qemu":
            raise BoardError("qemu-system-arm is not installed", "install it")
        return replace(some, core=board.cpu, all_fire=1000, fired=40)

    monkeypatch.setattr(_kernels, "workload", lambda *given: None)
    monkeypatch.setattr(_kernels, "row", row)
    rows = _kernels.measure(["gcc"], (40,))
    assert {r.core for r in rows} == {*_kernels.BOARDS, *_kernels.PLAIN}
    said = capsys.readouterr().err.splitlines()
    assert said and set(said) == {"mps3-an547 is left out: qemu-system-arm is not installed"}
    [(_, [cells])] = _kernels.tables([some], [])  # nothing is forced on QEMU, and no digest counted
    assert cells == ["cuba_lif", "40", "c", "gcc", "4.0", "100", "900", "", "", "2", "1"]
    assert not any("fired in a forced step" in line for line in _kernels.notes([some]))
    parts = _kernels.parts([replace(some, parts={"a": 20.0, "few": 9.0, "most": 1000.0})])[1]
    assert parts == [["cuba_lif", "40", "c", "gcc", "`most` 1,000, `a` 20"]]


def test_rows_keep_their_order_whatever_model_ends_first(monkeypatch):
    some = _kernels.Row("", 40, "", "gcc", "12", "-O3", 4.0, 100.0, 900.0, {"f": 900.0}, 0.0, 0, 0, 1, 1, 1)
    monkeypatch.setattr(_kernels, "workload", lambda *given: None)
    monkeypatch.setattr(
        _kernels,
        "row",
        lambda name, model, runs, settle, board, chain, more=(): replace(
            some, model=name, core=board.cpu, compiler=chain
        ),
    )

    def backwards(work, items, tell):
        pickle.dumps((work, items))  # for other processes
        yield from [work(item, tell) for item in items][::-1]

    told = []
    rows = _kernels.measure(["zig", "gcc"], (40, 50), told.append, backwards)
    assert rows == _kernels.measure(["zig", "gcc"], (40, 50))
    assert [(r.model, r.core, r.compiler) for r in rows[:3]] == [
        ("cuba_lif", "cortex-m4", "zig"), ("cuba_lif", "cortex-m4", "gcc"), ("cuba_lif", "cortex-m0", "zig"),
    ]  # fmt: skip
    assert "adlif, blocks, N = 50, cortex-m55, zig" not in told and "adlif, blocks, N = 50, mps3-an547, zig" in told
