"""A device that differs is found, and the report names the place: checked with one flipped value in real firmware."""

import shutil
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from conftest import need_for
from fakes import FakePort
from naive import Naive
from tiny import ALL, FRONTS, MODELS, tiny_counts, tiny_model, tiny_stack, with_entry

from lnp_edge import boards
from lnp_edge.base.errors import LinkError
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write
from lnp_edge.runtime.device import Device
from lnp_edge.runtime.ports import open_board
from lnp_edge.runtime.reference import Reference
from lnp_edge.runtime.runner import Steps
from lnp_edge.runtime.verify import StateDifference, compare, compare_tables, stimulus, verify
from lnp_edge.spec.decision import Decision
from lnp_edge.spec.layout import tables
from lnp_edge.spec.protocol import REPLIES, REQUESTS

MODEL = tiny_model()
STACK = tiny_stack()
COUNTS = tiny_counts(MODEL, 300)  # of as many channels as the stack has


def oracle_difference(model, wrong, counts):
    """(step, population, field, neuron, device, reference) of the first state word in which the slow oracle differs."""
    oracles = Naive(wrong), Naive(model)
    for t, row in enumerate(counts):
        for naive in oracles:
            naive.step(row)
        for k, name in enumerate(model.front.state):
            for c, (theirs, ours) in enumerate(zip(*(naive.front for naive in oracles), strict=True)):
                if theirs.state()[k] != ours.state()[k]:
                    return t, "front", name, c, theirs.state()[k], ours.state()[k]
        for at, p in enumerate(model.populations):
            fields = [(name, *(naive.s[at][name] for naive in oracles)) for name in p.module.STATE]
            for name, theirs, ours in [*fields, ("z", *(naive.z[p.name] for naive in oracles))]:
                for i, (a, b) in enumerate(zip(theirs, ours, strict=True)):
                    if a != b:
                        return t, p.name, name, i, a, b
    return None


def patched(model, image, path, table, k, value):
    """A copy of a built image of a model in which one entry of one table is another."""
    array = tables(model)[table]
    data = image.read_bytes()
    assert data.count(array.tobytes()) == 1, "the table's bytes are not at one place"
    other = array.copy()
    assert other[k] != value
    other[k] = value
    path.write_bytes(data.replace(array.tobytes(), other.tobytes()))
    shutil.copymode(image, path)
    return path


def pretending(wrong, model):
    """A device with one model that gives itself out for another."""
    return Device(FakePort(wrong, greeting={"fingerprint": model.fingerprint}), model)


CORRUPTIONS = [  # of a table of ALL, by how much one entry is wrong, and what the entry belongs to
    ("layer", "w_rec_data", 100, -1, "synapse neuron 11 of hidden to neuron 4 of hidden"),
    ("layer", "hidden_c_mem", 17, 1, "neuron 17 of hidden"),
    ("layer", "hidden_c_syn", 3, -1, "neuron 3 of hidden"),
    ("layer", "hidden_v_th", 29, 1, "neuron 29 of hidden"),
    ("layer", "hidden_bias", 39, 1, "neuron 39 of hidden"),
    ("stack", "w_first_second_entries", 100, -16, "synapse neuron 5 of first to neuron 2 of second"),
    ("stack", "w_second_third_rows", 138, 1000, "synapse neuron 34 of second to neuron 2 of third"),
    ("stack", "w_input_out_pairs", 1, 256, "synapse channel 1 to neuron 1 of out"),
    ("stack", "second_jump", 7, 1, "neuron 7 of second"),
    ("stack", "second_c_pull", 30, 9, "neuron 30 of second"),
    ("stack", "third_bias", 19, 1, "neuron 19 of third"),
    ("stack", "out_c", 2, -1, "neuron 2 of out"),
    ("delta of 4", "front_threshold", 1, -9, "channel 1"),
    ("blocks", "w_rec_weights", 102, 1, "synapse neuron 7 of hidden to neuron 22 of hidden"),
    ("blocks", "w_rec_blocks", 30, 1, "synapse neuron 8 of hidden to neuron 16 of hidden"),
    ("nibbles", "w_rec_nibbles", 25, 16 * 3, "synapse neuron 7 of hidden to neuron 21 of hidden"),
]


def corruption(kind, table, k, by):
    """The model, it with one wrong entry, the right and the wrong entry."""
    model = ALL[kind]()
    right = int(tables(model)[table][k])
    return model, with_entry(model, table, k, right + by), right, right + by


def assert_found_and_named(report, model, wrong, table, k, value, right, place):
    assert not report.ok
    assert [(d.table, d.index, d.place, d.device, d.model, d.entries) for d in report.table_differences] == [
        (table, k, place, value, right, 1)
    ]
    expected = oracle_difference(model, wrong, tiny_counts(model, 300))
    assert expected is not None, "choose counts in which this corruption shows"
    d = report.state_difference
    assert (d.step, d.population, d.field, d.neuron, d.device, d.reference) == expected
    assert report.lines() == [
        f"table {table}[{k}], {place}: device {value}, model {right}",
        f"first difference at step {d.step}, neuron {d.neuron} of {d.population}, {d.field}: "
        f"device {d.device}, reference {d.reference} ({d.words} words differ after that step)",
        f"NOT verified: 1 of {len(tables(model))} tables differ, the state differs within {d.step + 1} steps",
    ]


@pytest.mark.parametrize(("kind", "table", "k", "by", "place"), CORRUPTIONS, ids=[c[1] for c in CORRUPTIONS])
def test_one_wrong_value_is_found_and_named(kind, table, k, by, place):
    model, wrong, right, value = corruption(kind, table, k, by)
    report = verify(model, pretending(wrong, model), [tiny_counts(model, 300)])
    assert_found_and_named(report, model, wrong, table, k, value, right, place)


@pytest.mark.parametrize("board", ["host", "cortex-m4"])
@pytest.mark.parametrize(("kind", "table", "k", "by", "place"), CORRUPTIONS, ids=[c[1] for c in CORRUPTIONS])
def test_one_wrong_value_in_the_firmware_is_found_and_named(firmware, tmp_path, board, kind, table, k, by, place):
    model, wrong, right, value = corruption(kind, table, k, by)
    image = patched(model, firmware(board, kind=kind), tmp_path / "net.elf", table, k, value)
    with closing(open_board(boards.get(board), image)) as port:
        report = verify(model, Device(port, model), [tiny_counts(model, 300)])
    assert_found_and_named(report, model, wrong, table, k, value, right, place)


def test_a_threshold_that_is_never_reached_is_still_found_in_the_tables():
    """Its state is the same for ever: only the check of the tables as they lie in flash can see it."""
    wrong = with_entry(MODEL, "hidden_v_th", 29, int(tables(MODEL)["hidden_v_th"][29]) + 1)
    report = verify(MODEL, pretending(wrong, MODEL), [np.zeros((20, MODEL.n_in), np.int16)])
    assert (report.ok, report.state_difference) == (False, None)
    assert [d.table for d in report.table_differences] == ["hidden_v_th"]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("board", ["host", "cortex-m4", "mps2-an386"])
def test_sound_firmware_is_verified(firmware, board, kind):
    model = MODELS[kind]()
    with closing(open_board(boards.get(board), firmware(board, kind=kind))) as port:
        report = verify(model, Device(port, model), [COUNTS, *stimulus(model, 250, seed=1)])
    assert report.ok
    assert report.lines() == [f"verified: 550 steps, {550 * model.state_words} state words, 0 differences"]
    naive = Naive(model)
    for row in COUNTS:
        naive.step(row)
    assert report.classes[0] == naive.y.index(max(naive.y))


def rows_of_entries(p):
    """The row of each byte of a projection with distances: one more for every 15 that a target is away."""
    rows = []
    for j, weights in enumerate(p.w.dense()):
        last = 0
        for i in np.flatnonzero(weights):
            rows += [j] * (1 + max(i - last - 1, 0) // 15)
            last = i
    return rows


def place_in_words(model, table, k):
    """What an entry belongs to, by the names in the table's own name."""
    kind, _, part = table.rpartition("_")
    if kind in ("encoder", "front"):
        return f"channel {k}"
    for p in model.projections:
        pre, post = (f"neuron {{}} of {end}" if end != "input" else "channel {}" for end in (p.source, p.target))
        if kind == f"w_{p.name}" and part == "indptr":
            return f"row of {pre.format(min(k, p.w.shape[0] - 1))}"
        if kind == f"w_{p.name}" and part == "starts":
            return f"row of {pre.format(min(k - k // 33, p.w.shape[0] - 1))}"
        if kind == f"w_{p.name}" and part in ("blocks", "nibbles", "weights"):
            at = k if part == "weights" else 4 * k
            row, block = sorted({(j, i // 4) for j, i in np.argwhere(p.w.dense()).tolist()})[at // 4]
            neuron = 4 * block + at % 4
            return f"synapse {pre.format(row)} to {post.format(neuron)}" if neuron < p.w.shape[1] else "padding"
        if kind == f"w_{p.name}" and part == "entries":  # whose distance is another
            return f"row of {pre.format(rows_of_entries(p)[k])}"
        if kind == f"w_{p.name}" and part == "rows":
            of_one = 4 * p.w.shape[0]  # of the four neurons that lie together
            neuron = 4 * (k // of_one) + k % 4
            there = f"synapse {pre.format(k % of_one // 4)} to {post.format(neuron)}"
            return there if neuron < p.w.shape[1] else "padding"
        if kind == f"w_{p.name}" and part == "pairs":  # of two weights in an entry the first is other than it was
            of_one = 4 * ((p.w.shape[0] + 1) // 2)  # of the four neurons that lie together
            source, neuron = 2 * (k % of_one // 4) + k % 2, 4 * (k // of_one) + k % 4 // 2 * 2
            real = source < p.w.shape[0] and neuron < p.w.shape[1]
            return f"synapse {pre.format(source)} to {post.format(neuron)}" if real else "padding"
        if kind == f"w_{p.name}":
            row = int(np.flatnonzero(p.w.indptr <= k)[-1])
            return f"synapse {pre.format(row)} to {post.format(p.w.indices[k])}"
    return f"neuron {k} of {table.partition('_')[0]}"


@pytest.mark.parametrize(
    "kind", [*MODELS, "blocks", "nibbles", *(kind for kind in FRONTS if FRONTS[kind]().front.params)]
)
@pytest.mark.parametrize("k", [0, -1])
def test_every_kind_of_table_is_named_in_words(kind, k):
    model = ALL[kind]()
    for number, (name, array) in enumerate(tables(model).items()):
        data = array.copy()
        data[k] ^= 1

        def tamper(request, payload, number=number, bad=data, name=name):
            if request == "tables":
                return payload[: 4 * number] + b"\xff\xff\xff\xff" + payload[4 * number + 4 :]
            if request == "read_table":
                offset = int.from_bytes(payload[2:6], "little")
                return payload[:6] + bad.tobytes()[offset : offset + len(payload) - 6]
            return payload

        (found,) = compare_tables(model, Device(FakePort(model, tamper), model))
        at = k % len(array)
        assert (found.table, found.index, found.entries) == (name, at, 1)
        assert (found.device, found.model) == (int(array[at]) ^ 1, int(array[at]))
        assert found.place == place_in_words(model, name, at)


def test_a_checksum_that_differs_though_the_bytes_read_right_is_not_passed_over():
    port = FakePort(MODEL, lambda name, p: b"\0\0\0\0" + p[4:] if name == "tables" else p)
    report = verify(MODEL, Device(port, MODEL), [COUNTS[:5]])
    assert not report.ok
    assert "CRC-32 differs" in report.lines()[0]


class Wrong:
    """The reference with some bits of a state word flipped from a step on; digests as they then are."""

    run = t = 0

    def __init__(self, model, step, word, flip):
        self.reference, self.step, self.word, self.flip = Reference(model), step, word, flip

    def reset(self):
        self.reference.reset()

    def steps(self, counts, digests=True):
        begin = self.reference.t
        found = self.reference.steps(counts)
        late = np.arange(begin, begin + len(counts)) >= self.step
        return Steps(found.y, found.digests ^ late.astype(np.uint32), 0)

    def state(self):
        words = self.reference.state().copy()
        if self.reference.t > self.step:
            words[self.word] ^= np.uint32(self.flip)
        return words


# (state word, bits flipped in it) and the place: the first is named, whatever else differs.
PLACES = {
    "layer": [
        (0, [0], "hidden", "i_syn", 0),
        (39, [31], "hidden", "i_syn", 39),
        (40, [5], "hidden", "v", 0),
        (79, [0, 3], "hidden", "v", 39),
        (80, [0], "hidden", "z", 0),
        (80, [31], "hidden", "z", 31),
        (80, [3, 4, 17, 31], "hidden", "z", 3),
        (80, [30, 31], "hidden", "z", 30),
        (81, [7], "hidden", "z", 39),
        (81, [2, 7], "hidden", "z", 34),
        (82, [3], "out", "y", 0),
        (85, [31], "out", "y", 3),
    ],
    "stack": [  # first: 33 i_syn, 33 v, 2 z; second: 40 v, 40 w, 2 z; third: 20 i_syn, 20 v, 1 z; out: 4 y
        (67, [0], "first", "z", 32),
        (68, [1], "second", "v", 0),
        (108, [1], "second", "w", 0),
        (149, [1, 6], "second", "z", 33),
        (150, [1], "third", "i_syn", 0),
        (190, [5, 19], "third", "z", 5),
        (194, [0], "out", "y", 3),
    ],
}


@pytest.mark.parametrize(("kind", "place"), [(kind, place) for kind, places in PLACES.items() for place in places])
@pytest.mark.parametrize("step", [0, 199, 200, 299])
def test_any_wrong_state_word_is_named_with_step_population_field_and_neuron(kind, place, step):
    word, bits, population, field, neuron = place
    model, flip = MODELS[kind](), sum(1 << bit for bit in bits)
    found = compare(Wrong(model, step, word, flip), Reference(model), COUNTS)
    reference = Reference(model)
    reference.steps(COUNTS[: step + 1])
    right = int(reference.state()[word])
    if field == "z":
        right = right >> bits[0] & 1
        wrong = 1 - right
    else:
        wrong, right = (int(np.uint32(x).view(np.int32)) for x in (right ^ flip, right))
    assert found.difference == StateDifference(step, population, field, neuron, wrong, right, 1)
    assert (found.steps, found.same) == (step + 1, False)
    assert f"first difference at step {step}, neuron {neuron} of {population}, {field}: " in str(found.difference)


def test_a_readout_that_differs_although_the_digests_agree_is_found():
    class Liar(Wrong):
        def steps(self, counts, digests=True):
            found = self.reference.steps(counts)
            return Steps(found.y + 1, found.digests, 0)

    assert not compare(Liar(MODEL, 10**9, 0, 0), Reference(MODEL), COUNTS).same


def test_a_fault_that_does_not_come_back_is_reported_as_one():
    class Once(FakePort):
        done = False

        def steps(self, payload):
            if not self.done:
                self.done, self.net.digest = True, 1
            return super().steps(payload)

    report = verify(MODEL, Device(Once(MODEL), MODEL), [COUNTS])
    assert (report.ok, report.transient, report.state_difference) == (False, True, None)
    assert "transient" in report.lines()[0]


def test_verification_stops_at_the_first_run_that_differs_and_counts_what_it_compared():
    steps = []
    wrong = with_entry(MODEL, "hidden_c_mem", 17, 30000)
    report = verify(MODEL, pretending(wrong, MODEL), [COUNTS, COUNTS], steps.append)
    assert report.steps == report.state_difference.step + 1
    assert len(report.classes) == 1
    assert report.state_words == report.steps * MODEL.state_words


class Telling(FakePort):
    """Answers with other digests, or other read-outs, than the state has: always, or where one digest is asked for."""

    def __init__(self, model, what, always):
        super().__init__(model)
        self.what, self.always = what, always

    def steps(self, payload):
        reply = bytearray(super().steps(payload))
        (told,) = REQUESTS["steps"].struct.unpack_from(payload)[2:]
        if self.always or told == 1:
            first = REPLIES["steps"].struct.size + (4 * self.model.n_out if self.what == "digest" else 4)
            for at in range(first, len(reply) if self.what == "digest" else first + 4, 4):
                reply[at] ^= 1
        return bytes(reply)


@pytest.mark.parametrize("always", [True, False])
@pytest.mark.parametrize(("what", "neuron"), [("digest", 0), ("read-out", 1)])
def test_what_is_told_wrong_each_time_is_not_called_transient(what, neuron, always):
    report = verify(MODEL, Device(Telling(MODEL, what, always), MODEL), [COUNTS])
    found = report.state_difference
    assert (report.ok, report.transient) == (False, False)
    assert (found.field, found.neuron, found.words) == (what, neuron, 0)
    assert found.device == found.reference ^ 1
    assert "the state agrees" in report.lines()[0] and "the state agrees" in report.cause


def test_a_report_says_what_is_likely_to_be_the_cause():
    """The tables, a reset, the step of a population, or nothing that comes back."""
    sound = verify(MODEL, Device(FakePort(MODEL), MODEL), [COUNTS])
    assert (sound.cause, sound.as_dict()["cause"]) == ("", "")
    wrong = verify(MODEL, pretending(with_entry(MODEL, "hidden_c_mem", 17, 30000), MODEL), [COUNTS])
    assert "of another build or damaged" in wrong.cause
    place = StateDifference(0, "hidden", "v", 3, 1, 2, 1)
    assert "step of hidden" in replace(sound, state_difference=place).cause
    assert "reset" in replace(sound, state_difference=place, classes=(0, 1)).cause
    assert "did not come back" in replace(sound, transient=True).cause


# The spikes of the stack's first layer are only read in the step that they are of, so that none of them can be left.
LEFT = [(kind, f.population, f.name) for kind in MODELS for f in MODELS[kind]().fields if f.full_name != "first_z"]
LEFT.append(("layer", "", "digest"))


@pytest.mark.parametrize(("kind", "population", "field"), LEFT)
def test_a_reset_that_leaves_a_field_is_found(kind, population, field):
    model = MODELS[kind]()

    class Forgetful(FakePort):
        def reset(self, payload):
            net = self.net
            words, fired, digest = net._words.copy(), net._fired.copy(), net.digest
            reply = super().reset(payload)
            for word in range(model.state_words):
                found, _ = model.locate(word)
                if (found.population, found.name) == (population, field):
                    net._words[word] = words[word]
            if field == "z":
                number = 1 + [p.name for p in model.populations].index(population)
                net._fired[number] = fired[number]
            net.digest = digest if field == "digest" else 0
            return reply

    report = verify(model, Device(Forgetful(model), model), stimulus(model, 2000, seed=3))
    assert not report.ok
    assert (report.steps, report.state_difference.step) == (501, 0)


@pytest.mark.parametrize("field", [f.full_name for f in MODEL.fields])
def test_firmware_whose_reset_leaves_a_field_is_not_verified(tmp_path, field):
    need_for("host")
    board = boards.get("host")
    write(generate(MODEL, board), tmp_path)
    body = "LNP_MODEL(init)(s);\n}"
    (kernel,) = (path for path in tmp_path.glob("*.h") if path.read_text().count(body) == 1)  # where reset is
    whole = kernel.read_text()
    spared = f"LNP_MODEL(t) old = *s;\nLNP_MODEL(init)(s);\nspare(&s->{field}, &old.{field}, sizeof s->{field});\n}}"
    spare = """static void spare(void *to, const void *from, size_t bytes) {
        for (size_t k = 0; k < bytes; k++) ((char *)to)[k] = ((const char *)from)[k];
    }
    """
    kernel.write_text(whole.replace(body, spared).replace("void LNP_MODEL(reset)", spare + "void LNP_MODEL(reset)"))
    with closing(open_board(board, build(tmp_path, optimize="-O0").image)) as port:
        report = verify(MODEL, Device(port, MODEL), stimulus(MODEL, 2000, seed=1))
    assert (report.ok, report.table_differences, report.steps) == (False, (), 501)
    found = report.state_difference
    # Spikes that stay show in the first step as what they sent: their neurons' own bits are written anew.
    name = f"{found.population}_{found.field}" if found.population else found.field
    assert (found.step, name) == (0, {"hidden_z": "hidden_i_syn"}.get(field, field))
    assert report.lines()[-1] == "NOT verified: 0 of 14 tables differ, the state differs within 501 steps"


def test_a_reset_that_leaves_the_count_of_steps_is_refused_by_the_link():
    class Forgetful(FakePort):
        def reset(self, payload):
            t = self.net.t
            reply = super().reset(payload)
            self.net.t = t
            return reply

    with pytest.raises(LinkError, match=r"the port is at step 500, not 0"):
        verify(MODEL, Device(Forgetful(MODEL), MODEL), stimulus(MODEL, 2000, seed=1))


def test_a_reset_that_leaves_the_digest_is_refused_by_the_link():
    class Forgetful(FakePort):
        def reset(self, payload):
            digest = self.net.digest
            super().reset(payload)
            return REPLIES["reset"].struct.pack(self.run, 0, digest)

    with pytest.raises(LinkError, match=r"the port answers for digest [1-9]\d*, not 0"):
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
        busy = {MODEL.locate(int(word))[0].name for word in np.flatnonzero(reference.state())}
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


def test_a_model_that_is_never_reset_is_run_for_long_without_one():
    model = replace(MODEL, decision=Decision(stream=True))
    runs = list(stimulus(model, 3300, seed=1))
    assert [len(run) for run in runs] == [500, 500, 2300]
    assert np.concatenate(runs).tolist() == np.concatenate(list(stimulus(MODEL, 3300, seed=1))).tolist()

    class Tired(FakePort):
        def steps(self, payload):
            if self.net.t >= 1600:
                self.net._words[3] ^= 1
            return super().steps(payload)

    assert verify(MODEL, Device(Tired(MODEL), MODEL), stimulus(MODEL, 3300, seed=1)).ok
    whole = verify(model, Device(FakePort(model), model), stimulus(model, 3300, seed=1))
    assert whole.lines()[-1].endswith("0 differences, 2300 steps without a reset")
    found = verify(model, Device(Tired(model), model), stimulus(model, 3300, seed=1))
    assert not found.ok and found.steps >= 1000 + 1600
