"""A device that differs is found, and the report names the place: checked with one flipped value in real firmware."""

import shutil
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from conftest import need_for
from fakes import FakePort
from naive import Naive
from tiny import tiny_counts, tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import LinkError
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.ports import open_board
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.runner import Steps
from lnp_edge.runtime.verify import StateDifference, compare, compare_tables, stimulus, verify
from lnp_edge.spec.layout import tables
from lnp_edge.spec.model import CSR

MODEL = tiny_model()
COUNTS = tiny_counts(MODEL, 300)
W = MODEL.w_rec


def corrupted(table, k, value):
    """MODEL with one table entry changed."""
    if table == "w_rec_data":
        data = W.data.copy()
        data[k] = value
        return replace(MODEL, w_rec=CSR(W.indptr, W.indices, data, W.shape))
    if table == "w_rec_indices":
        indices = W.indices.copy()
        indices[k] = value
        return replace(MODEL, w_rec=CSR(W.indptr, indices, W.data, W.shape))
    values = MODEL.params[table].copy()
    values[k] = value
    return replace(MODEL, params=MODEL.params | {table: values})


def oracle_difference(model, counts):
    """(step, field, neuron, device, reference) of the first state word in which the slow oracle's two runs differ."""
    right, wrong = Naive(MODEL), Naive(model)
    for t, row in enumerate(counts):
        right.step(row)
        wrong.step(row)
        for name in ("i_syn", "v", "z", "y"):
            pairs = zip(getattr(wrong, name), getattr(right, name), strict=True)
            for i, (a, b) in enumerate(pairs):
                if a != b:
                    return t, name, i, a, b
    return None


def patched(image, path, table, k, value):
    """A copy of a built image in which one entry of one table is another."""
    array = tables(MODEL)[table]
    data = image.read_bytes()
    assert data.count(array.tobytes()) == 1, "the table's bytes are not at one place"
    other = array.copy()
    assert other[k] != value
    other[k] = value
    path.write_bytes(data.replace(array.tobytes(), other.tobytes()))
    shutil.copymode(image, path)
    return path


LINE = int(np.searchsorted(W.indptr, 100, side="right")) - 1  # the neuron that synapse 100 comes from
CORRUPTIONS = [
    ("w_rec_data", 100, int(W.data[100]) ^ 1, f"synapse neuron {LINE} to neuron {W.indices[100]}"),
    ("c_mem", 17, int(MODEL.params["c_mem"][17]) + 1, "neuron 17"),
    ("c_syn", 3, int(MODEL.params["c_syn"][3]) - 1, "neuron 3"),
    ("v_th", 29, int(MODEL.params["v_th"][29]) + 1, "neuron 29"),
    ("bias", 39, int(MODEL.params["bias"][39]) + 1, "neuron 39"),
]


@pytest.mark.parametrize("board", ["host", "cortex-m4"])
@pytest.mark.parametrize(("table", "k", "value", "place"), CORRUPTIONS, ids=[c[0] for c in CORRUPTIONS])
def test_one_wrong_value_in_the_firmware_is_found_and_named(firmware, tmp_path, board, table, k, value, place):
    image = patched(firmware(board), tmp_path / "net.elf", table, k, value)
    with closing(open_board(boards.get(board), image)) as port:
        report = verify(MODEL, Device(port, MODEL), [COUNTS])
    right = int(tables(MODEL)[table][k])
    assert not report.ok
    assert [(d.table, d.index, d.place, d.device, d.model, d.entries) for d in report.table_differences] == [
        (table, k, place, value, right, 1)
    ]
    expected = oracle_difference(corrupted(table, k, value), COUNTS)
    assert expected is not None, "choose counts in which this corruption shows"
    d = report.state_difference
    assert (d.step, d.field, d.neuron, d.device, d.reference) == expected
    assert report.lines() == [
        f"table {table}[{k}], {place}: device {value}, model {right}",
        f"first difference at step {d.step}, neuron {d.neuron}, {d.field}: "
        f"device {d.device}, reference {d.reference} ({d.words} words differ after that step)",
        f"NOT verified: 1 of 18 tables differ, the state differs within {d.step + 1} steps",
    ]


def test_a_threshold_that_is_never_reached_is_still_found_in_the_tables(firmware, tmp_path):
    """Its state is the same for ever: only the check of the tables as they lie in flash can see it."""
    k, right = 29, int(MODEL.params["v_th"][29])
    image = patched(firmware("host"), tmp_path / "net.elf", "v_th", k, right + 1)
    with closing(open_board(boards.get("host"), image)) as port:
        report = verify(MODEL, Device(port, MODEL), [np.zeros((20, MODEL.n_in), np.int16)])
    assert (report.ok, report.state_difference) == (False, None)
    assert [d.table for d in report.table_differences] == ["v_th"]


@pytest.mark.parametrize("board", ["host", "cortex-m4", "mps2-an386"])
def test_sound_firmware_is_verified(firmware, board):
    with closing(open_board(boards.get(board), firmware(board))) as port:
        report = verify(MODEL, Device(port, MODEL), [COUNTS, *stimulus(MODEL, 250, seed=1)])
    assert report.ok
    assert report.lines() == [f"verified: 550 steps, {550 * MODEL.state_words} state words, 0 differences"]
    naive = Naive(MODEL)
    for row in COUNTS:
        naive.step(row)
    assert report.classes[0] == naive.y.index(max(naive.y))


def test_every_kind_of_table_is_named_in_words():
    model = MODEL
    for number, (name, array) in enumerate(tables(model).items()):
        data = array.copy()
        data[-1] ^= 1

        def tamper(request, payload, number=number, bad=data, name=name):
            if request == "tables":
                return payload[: 4 * number] + b"\xff\xff\xff\xff" + payload[4 * number + 4 :]
            if request == "read_table":
                offset = int.from_bytes(payload[2:6], "little")
                return payload[:6] + bad.tobytes()[offset : offset + len(payload) - 6]
            return payload

        (found,) = compare_tables(model, Device(FakePort(model, tamper), model))
        assert (found.table, found.index, found.entries) == (name, len(array) - 1, 1)
        assert (found.device, found.model) == (int(array[-1]) ^ 1, int(array[-1]))
        expected = {
            "encoder": "channel 2",
            "w_in_indptr": "end of the last row",
            "w_rec_indptr": "end of the last row",
            "w_out_indptr": "end of the last row",
            "c_out": "read-out 3",
            "bias_out": "read-out 3",
        }
        if "_data" in name or "_indices" in name:
            w = getattr(model, name.rpartition("_")[0])
            pre = int(np.flatnonzero(w.indptr[:-1] < len(array))[-1])
            kinds = {"w_in": "channel {} to neuron {}", "w_rec": "neuron {} to neuron {}"}
            place = "synapse " + kinds.get(name.rpartition("_")[0], "neuron {} to read-out {}").format(
                pre, w.indices[-1]
            )
        else:
            place = next((text for key, text in expected.items() if name.startswith(key)), "neuron 39")
        assert found.place == place


def test_a_checksum_that_differs_though_the_bytes_read_right_is_not_passed_over():
    port = FakePort(MODEL, lambda name, p: b"\0\0\0\0" + p[4:] if name == "tables" else p)
    report = verify(MODEL, Device(port, MODEL), [COUNTS[:5]])
    assert not report.ok
    assert "CRC-32 differs" in report.lines()[0]


class Wrong:
    """The reference with one state word flipped from a step on; digests as they then are."""

    def __init__(self, model, step, word, bit):
        self.reference, self.step, self.word, self.bit = Reference(model), step, word, bit

    def reset(self):
        self.reference.reset()

    def steps(self, counts):
        begin = self.reference.t
        found = self.reference.steps(counts)
        late = np.arange(begin, begin + len(counts)) >= self.step
        return Steps(found.y, found.digests ^ late.astype(np.uint32), 0)

    def state(self):
        words = self.reference.state().copy()
        if self.reference.t > self.step:
            words[self.word] ^= np.uint32(1) << np.uint32(self.bit)
        return words


@pytest.mark.parametrize(
    ("word", "bit", "field", "neuron"),
    [
        (0, 0, "i_syn", 0),
        (39, 31, "i_syn", 39),
        (40, 5, "v", 0),
        (79, 0, "v", 39),
        (80, 0, "z", 0),
        (80, 31, "z", 31),
        (81, 7, "z", 39),
        (82, 3, "y", 0),
        (85, 31, "y", 3),
    ],
)
@pytest.mark.parametrize("step", [0, 199, 200, 299])
def test_any_wrong_state_word_is_named_with_step_field_and_neuron(word, bit, field, neuron, step):
    found = compare(Wrong(MODEL, step, word, bit), Reference(MODEL), COUNTS)
    reference = Reference(MODEL)
    reference.steps(COUNTS[: step + 1])
    right = int(reference.state()[word].view(np.int32))
    if field == "z":
        right = right >> bit & 1
        wrong = 1 - right
    else:
        wrong = int(np.uint32((right & 0xFFFFFFFF) ^ 1 << bit).view(np.int32))
    assert found.difference == StateDifference(step, field, neuron, wrong, right, 1)
    assert (found.steps, found.same) == (step + 1, False)
    assert f"{'read-out' if field == 'y' else 'neuron'} {neuron}, {field}: " in str(found.difference)


def test_a_readout_that_differs_although_the_digests_agree_is_found():
    class Liar(Wrong):
        def steps(self, counts):
            found = self.reference.steps(counts)
            return Steps(found.y + 1, found.digests, 0)

    assert not compare(Liar(MODEL, 10**9, 0, 0), Reference(MODEL), COUNTS).same


def test_a_fault_that_does_not_come_back_is_reported_as_one():
    class Once(FakePort):
        done = False

        def steps(self, payload):
            found = super().steps(payload)
            if not self.done:
                self.done, found = True, found[:-1] + bytes([found[-1] ^ 1])
            return found

    report = verify(MODEL, Device(Once(MODEL), MODEL), [COUNTS])
    assert (report.ok, report.transient, report.state_difference) == (False, True, None)
    assert "transient" in report.lines()[0]


def test_verification_stops_at_the_first_run_that_differs_and_counts_what_it_compared():
    steps = []
    wrong = FakePort(corrupted("c_mem", 17, 30000))
    wrong.greeting = {"fingerprint": MODEL.fingerprint}
    report = verify(MODEL, Device(wrong, MODEL), [COUNTS, COUNTS], steps.append)
    assert report.steps == report.state_difference.step + 1
    assert len(report.classes) == 1
    assert report.state_words == report.steps * MODEL.state_words


@pytest.mark.parametrize("field", ["i_syn", "v", "z", "y", "digest"])
def test_a_reset_that_leaves_a_field_is_found(field):
    class Forgetful(FakePort):
        def reset(self, payload):
            net = self.net
            variables, y, digest, fired = net._vars.copy(), net._y.copy(), net.digest, net._fired
            reply = super().reset(payload)
            if field in ("i_syn", "v"):
                column = MODEL.state_fields.index(field)
                net._vars[:, column] = variables[:, column]
            net._y[:] = y if field == "y" else 0
            net.digest = digest if field == "digest" else 0
            net._fired = fired if field == "z" else 0
            return reply

    report = verify(MODEL, Device(Forgetful(MODEL), MODEL), stimulus(MODEL, 2000, seed=1))
    assert not report.ok
    assert (report.steps, report.state_difference.step) == (501, 0)


@pytest.mark.parametrize("field", ["i_syn", "v", "z", "y", "digest"])
def test_firmware_whose_reset_leaves_a_field_is_not_verified(tmp_path, field):
    need_for("host")
    board = boards.get("host")
    write(generate(MODEL, board), tmp_path)
    kernel = tmp_path / "lnp_kernel.h"
    whole = kernel.read_text()
    body = "LNP_MODEL(init)(s);\n}"
    assert whole.count(body) == 1, "the body of reset is not the one known here"
    spared = f"LNP_MODEL(t) old = *s;\nLNP_MODEL(init)(s);\nspare(&s->{field}, &old.{field}, sizeof s->{field});\n}}"
    spare = """static void spare(void *to, const void *from, size_t bytes) {
        for (size_t k = 0; k < bytes; k++) ((char *)to)[k] = ((const char *)from)[k];
    }
    """
    kernel.write_text(whole.replace(body, spared).replace("void LNP_MODEL(reset)", spare + "void LNP_MODEL(reset)"))
    with closing(open_board(board, build(tmp_path).image)) as port:
        report = verify(MODEL, Device(port, MODEL), stimulus(MODEL, 2000, seed=1))
    assert (report.ok, report.table_differences, report.steps) == (False, (), 501)
    found = report.state_difference
    # Spikes that stay show in the first step as what they sent: their neurons' own bits are written anew.
    assert (found.step, found.field) == (0, {"z": "i_syn"}.get(field, field))
    assert report.lines()[-1] == "NOT verified: 0 of 18 tables differ, the state differs within 501 steps"


def test_a_reset_that_leaves_the_count_of_steps_is_refused_by_the_link():
    class Forgetful(FakePort):
        def reset(self, payload):
            t = self.net.t
            reply = super().reset(payload)
            self.net.t = t
            return reply

    with pytest.raises(LinkError, match=r"refuses steps \(step\) at step 500"):
        verify(MODEL, Device(Forgetful(MODEL), MODEL), stimulus(MODEL, 2000, seed=1))


@pytest.mark.parametrize("steps", [2, 300, 2000])
def test_every_run_of_the_stimulus_but_the_first_begins_with_a_network_at_work(steps):
    """Otherwise no reset has anything to clear. A step or two leave no spike, but do leave a potential."""
    reference = Reference(MODEL)
    *before, _ = stimulus(MODEL, steps, seed=1)
    assert before
    for counts in before:
        reference.reset()
        reference.steps(counts)
        busy = {MODEL.locate(int(word))[0] for word in np.flatnonzero(reference.state())}
        assert busy >= ({"v"} if steps == 2 else {"i_syn", "v", "z", "y"})


def test_the_stimulus_is_seeded_and_reaches_the_corners():
    run, _ = stimulus(MODEL, 1000, seed=1)
    (again, _), (other, _) = stimulus(MODEL, 1000, seed=1), stimulus(MODEL, 1000, seed=2)
    assert run.shape == (500, MODEL.n_in) and run.dtype == np.int16
    assert (run.min(), run.max()) == (-32768, 32767)
    assert run.tolist() == again.tolist() and run.tolist() != other.tolist()
    assert [[len(run) for run in stimulus(MODEL, n, 1)] for n in (1, 7, 500, 1001)] == [
        [1],
        [4, 3],
        [250, 250],
        [500, 500, 1],
    ]
