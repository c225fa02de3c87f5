"""What follows from the counts of a model on a board, by hand: time, share, energy, stack, and how they are said."""

from dataclasses import replace

import pytest
from tiny import tiny_front, tiny_model

from lnp_edge import boards
from lnp_edge.commands import _cost_report
from lnp_edge.commands._cost_report import _sentences, frequency, in_words, percent, verdict
from lnp_edge.firmware_gen.stack import Stack
from lnp_edge.spec import layout
from lnp_edge.spec.decision import Decision
from lnp_edge.stages.cost import CYCLES, BoardCost, Counted, Forced

NUCLEO, M4 = boards.get("nucleo-f401re"), boards.get("cortex-m4")
MODEL = replace(tiny_model(), dt=0.04, window=100, hop=50).check()
STREAM = replace(MODEL, decision=Decision(stream=True)).check()


def cost_of(mean, largest, model=MODEL, board=NUCLEO, **more):
    return BoardCost(model, board, counted=(Counted("real", 10, mean, largest), Counted("synthetic", 9, 1, 1)), **more)


def test_time_and_share_follow_from_the_first_counts_clock_and_rate():
    """84 MHz: 42,000 instructions take 0.5 ms at one cycle each; 100 steps every 2 s are 50 a second."""
    found = cost_of(42_000.0, 84_000)
    assert (found.model.open_windows, found.model.steps_a_second) == (2, 50)
    assert (found.a_window, found.a_second) == (4_200_000, 2_100_000)
    assert found.mean_ms == (0.5, 1.0) and found.largest_ms == (1.0, 2.0)
    assert found.share == pytest.approx((0.025, 0.05), rel=1e-12)  # floats
    assert verdict(found) == (
        "25 Hz leaves 40 ms. The largest counted takes 2 to 4 ms (2 windows are open): in time, "
        "2.5 to 5 % of the processor."
    )


def test_a_stream_takes_one_step_a_sample():
    found = cost_of(42_000.0, 84_000, STREAM)
    assert (found.model.open_windows, found.model.steps_a_second, found.a_window) == (1, 25, 2_100_000)
    assert "windows" not in verdict(found)


def test_a_frame_of_samples_is_one_step():
    model = replace(tiny_front("logdiff", 4), dt=0.04, window=80, hop=80).check()
    found = cost_of(1000.0, 2000, model)
    assert (found.model.open_windows, found.model.steps_a_second, found.a_window) == (1, 25, 20_000)
    assert verdict(found).startswith("100 Hz leaves 10 ms. ")


@pytest.mark.parametrize(
    ("largest", "mean", "said"),
    [
        (840_000, 42_000.0, "in time, 2.5 to 5 %"),  # two steps: 20 ms at one cycle each, 40 at two
        (840_001, 42_000.0, "perhaps late, so buffer samples meanwhile, 2.5 to 5 %"),
        (1_680_000, 42_000.0, "perhaps late, so buffer samples meanwhile, 2.5 to 5 %"),
        (1_680_001, 42_000.0, "late, so buffer samples meanwhile, 2.5 to 5 %"),
        (840_000, 840_000.0, "in time, 50 to 100 %"),
        (840_001, 840_001.0, "perhaps too slow, 50 to 100 %"),
        (1_680_001, 1_680_001.0, "too slow, 100 to 200 %"),
    ],
)
def test_the_verdict_says_whether_the_board_keeps_up(largest, mean, said):
    assert f" open): {said} of the processor." in verdict(cost_of(mean, largest))


def test_cycles_that_the_board_counted_replace_the_assumed_ones():
    found = cost_of(42_000.0, 84_000, cycles=63_000.0)
    assert found.an_instruction == (1.5, 1.5) and found.mean_ms == (0.75, 0.75) and found.largest_ms == (1.5, 1.5)
    assert percent(found.share) == "3.8 %"
    slow = cost_of(42_000.0, 84_000, cycles=1_890_000.0)  # 22.5 ms a step, the largest 45 ms, two of each
    assert slow.largest_ms == (45.0, 45.0) and slow.verdict == "too slow"
    late = cost_of(42_000.0, 84_000, board=replace(NUCLEO, clock_hz=5_250_000), cycles=63_000.0)
    assert (late.mean_ms, late.largest_ms, late.verdict) == ((12.0, 12.0), (24.0, 24.0), "late")


def test_the_bound_decides_whether_every_step_is_in_time():
    """84 MHz: 840,000 instructions take 10 ms at one cycle each; by the manual at most 1,700,000 cycles, 20.2 ms."""
    forced = Forced(840_000, 800_000, 244, 244)
    found = cost_of(42_000.0, 84_000, forced=forced)
    assert found.largest_ms == (1.0, 2.0) and found.bound_ms == (10.0, 20.0) and found.verdict == "in time"
    assert verdict(found).startswith(
        "25 Hz leaves 40 ms. A step takes at most 40 ms, where every neuron fires (2 windows are open): in time, "
    )
    most = cost_of(42_000.0, 84_000, forced=replace(forced, cycles=1_700_000, fired=243))
    assert most.bound_ms == (10.0, pytest.approx(20.238, abs=0.001)) and most.verdict == "perhaps late"
    assert (
        "at most 40 ms if no more than 243 of 244 fire (no state that was tried makes more fire; 2 windows are open): "
        in verdict(most)
    )
    by_counter = replace(most, cycles=63_000.0)  # 1.5 a step on average, flash waits included
    assert by_counter.bound_ms == (15.0, 15.0)


def test_cycles_by_the_manual_are_bounds_of_the_mean():
    counted = Counted("real", 10, 42_000.0, 84_000, (43_000.0, 60_000.0))
    found = BoardCost(MODEL, NUCLEO, counted=(counted,))
    assert found.mean_ms == pytest.approx((43 / 84, 60 / 84), rel=1e-12)  # floats
    assert "Each takes 1 to 1.4 cycles (bounds by the core's manual; flash waits on top)." in " ".join(
        _sentences(found)
    )


def test_energy_is_current_times_supply_times_time_and_unknown_without_a_current():
    """84,000 instructions of 1 to 2 cycles at 84 MHz: 1 to 2 ms; 146 uA/MHz at 84 MHz and 3.3 V are 40.47 mW."""
    assert (NUCLEO.ua_per_mhz, NUCLEO.supply_mv) == (146, 3300)
    found = cost_of(84_000.0, 84_000)
    assert found.microjoules == pytest.approx((40.4712, 80.9424), rel=1e-12)  # floats
    said = " ".join(_sentences(found))
    a_second = in_words(tuple(uj * found.model.steps_a_second for uj in found.microjoules))
    assert f"an estimate: 40 to 81 uJ a step, {a_second} uJ a second of signal, at 146 uA/MHz" in said
    unknown = replace(found, board=replace(NUCLEO, ua_per_mhz=0, supply_mv=0))
    assert "Energy" not in " ".join(_sentences(unknown)) and unknown.as_dict()["microjoules_a_step"] is None


def test_a_stack_that_may_overflow_is_said_with_the_calls_that_fill_it():
    found = replace(cost_of(1.0, 1), flash=1, deepest=Stack(2052, 2048, ("main", "classify")), stack=400)
    assert (
        "Stack: at most 2,052 of 2,048 B, by the calls in the program: it may overflow in main > classify; "
        "400 B while steps were counted."
    ) in " ".join(_sentences(found))
    unknown = replace(found, deepest=Stack(None, 2048, why="classify calls itself"), stack=0)
    assert "Stack: 2,048 B, no bound is known: classify calls itself." in " ".join(_sentences(unknown))


@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m7", "cortex-m33", "rv32imac"])
def test_what_is_assumed_is_the_same_for_every_core_and_said_to_be_assumed(cpu, capsys):
    found = cost_of(42_000.0, 84_000, board=replace(NUCLEO, cpu=cpu))
    assert found.an_instruction == CYCLES == (1.0, 2.0)
    _cost_report.show(found)
    said = " ".join(capsys.readouterr().out.split())
    product = "the product of a small Cortex-M0 takes 32; " if cpu == "cortex-m0" else ""
    assert f"1 to 2 cycles (assumed; {product}flash waits on top)." in said
    _cost_report.show(cost_of(42_000.0, 84_000, cycles=63_000.0))
    assert "Each takes 1.5 cycles (by the board's own counter)." in " ".join(capsys.readouterr().out.split())


def test_ranges_have_two_digits_and_the_unit_of_the_interval_fits():
    assert [in_words(r) for r in ((1.234, 5.678), (0.9, 0.904), (0, 0), (12.4, 128.0))] == [
        "1.2 to 5.7", "0.9", "0", "12 to 130",
    ]  # fmt: skip
    assert percent((1e-7, 9e-5)) == "under 0.01 %"
    slow = cost_of(1000.0, 2000, replace(STREAM, dt=600.0))
    assert verdict(slow).startswith("1.67 mHz leaves 600 s. ") and verdict(slow).endswith(
        "under 0.01 % of the processor."
    )
    assert [frequency(hz) for hz in (44_100, 1000, 25, 0.0016667)] == ["44.1 kHz", "1 kHz", "25 Hz", "1.67 mHz"]


def test_the_tables_of_each_part_add_up():
    """Of 40 neurons c_syn and c_mem have 2 B, v_th and bias 4; of 4 read-outs c has 2 and bias 4."""
    found = BoardCost(MODEL, NUCLEO, flash=1)
    assert sum(found.tables.values()) == layout.table_bytes(MODEL)
    assert (found.tables["hidden"], found.tables["out"]) == (40 * 12, 4 * 6) and found.as_dict()["state"] > 4 * 40 * 2
    assert set(found.tables) == {"encoder", "w_in", "w_rec", "w_out", "hidden", "out"}
    said = " ".join(_sentences(found))
    assert f"Tables in flash {layout.table_bytes(MODEL):,} B: " in said and ", hidden 480, out 24, w_in 160" in said


def test_an_app_is_told_apart_where_it_has_more_networks_than_what_answers_lnp_verify():
    for model, several in ((MODEL, True), (STREAM, False), (replace(MODEL, hop=100).check(), False)):
        said = " ".join(_sentences(BoardCost(model, NUCLEO, flash=1, ram=2, ram_of_app=3, serves=True)))
        assert ("but 2 networks" in said, "with one network" in said, "An app" in said) == (several,) * 3
    for more in (0, 1):
        found = BoardCost(MODEL, NUCLEO, flash=1, ram=2, ram_of_app=NUCLEO.ram.size + more, serves=True)
        assert (": it does not fit." in " ".join(_sentences(found))) == bool(more)


def test_nothing_counted_has_no_verdict_and_no_time_in_json():
    found = BoardCost(MODEL, NUCLEO, missing="why")
    assert found.as_dict()["missing"] == "why"
    assert set(cost_of(1.0, 1).as_dict()) - set(found.as_dict()) == {
        "instructions_a_window", "instructions_a_second", "cycles_an_instruction", "mean_ms", "largest_ms", "bound_ms",
        "share", "verdict", "microjoules_a_step",
    }  # fmt: skip
