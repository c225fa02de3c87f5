"""Files that lnp writes and reads again: a flipped bit is refused in two lines, or changes nothing that is read."""

import json
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import need
from nets import tiny_layers, tiny_network
from tiny import tiny_counts, tiny_model

from lnp_edge.base.errors import LnpError, ModelError
from lnp_edge.base.files import read_result, write_result
from lnp_edge.config import Config, NoiseSettings, TrainSettings
from lnp_edge.experiments.runs import Runs
from lnp_edge.interchange import onnx_file, windows_file
from lnp_edge.network import file as network_file
from lnp_edge.network.file import NetworkFile
from lnp_edge.pruning import lnp
from lnp_edge.pruning.steps import checkpoint as pruning_checkpoint
from lnp_edge.runtime.log import Gap, Log, Sample
from lnp_edge.runtime.source import Source

FLIPS = {"training": 150}  # torch takes long to read one; of others 400
MODEL = tiny_model(n=12)


def network(at):
    network_file.save(NetworkFile(tiny_network(n=8), Config(), {"train": [{"loss": 0.5}]}), at / "n.safetensors")

    def read():
        file = network_file.load(at / "n.safetensors")
        return file.network.identity(), file.config, file.history

    return at / "n.safetensors", read


class Few:
    """Two batches of one epoch."""

    batches, longest, identity = 2, 30, "few"

    def epoch(self, rng):
        for _ in range(self.batches):
            yield rng.normal(size=(4, 30, 3)).astype(np.float32), rng.integers(0, 4, 4)


def training(at):
    need("torch")
    from lnp_edge.training import checkpoint
    from lnp_edge.training.loop import train

    path, load, asked = at / "c.checkpoint", checkpoint.load, []

    def kept(*words):
        asked.append(words)
        return load(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "load", kept)
        train(tiny_layers(sizes=(5, 4)), Few(), TrainSettings(epochs=2, batch=4), 1, None, path)
    (_, key, leaf, average, optimiser, rng), *_ = asked

    def read():
        history = load(path, key, leaf, average, optimiser, rng)
        states = [leaf, average, optimiser.moments, rng.bit_generator.state]
        return history, str(states)

    return path, read


def pruning(at):
    start, path, options = tiny_network(n=12), at / "x.pruning", NoiseSettings(rounds=2)
    lnp.prune(start, 0.2, 1, None, options, path)
    key = network_file.load(path).history[pruning_checkpoint.SECTION]["key"]

    def read():
        found = pruning_checkpoint.load(path, key, start, 1)
        return found.network.identity(), found.rounds, found.costs, str(found.rng.bit_generator.state)

    return path, read


def model(at):
    onnx_file.save(MODEL, at / "m.onnx")
    return at / "m.onnx", lambda: repr(onnx_file.load(at / "m.onnx"))


def windows(at):
    counts = tiny_counts(MODEL, 20).reshape(2, 10, -1)
    windows_file.save(MODEL, counts, at / "m.onnx")
    return windows_file.path_of(at / "m.onnx"), lambda: windows_file.load(MODEL, at / "m.onnx").tolist()


def result(at):
    table = {"name": "a", "measures": {"accuracy": 0.9312345}, "history": [{"loss": 1.25, 7: None}] * 9, "config": {}}
    write_result(at / "result.json", table)

    def read():
        found = read_result(at / "result.json", lambda found: "measures" in found)
        return [found.get(key) for key in table]  # a CRC under another name is one entry more

    return at / "result.json", read


def predictions(at):
    runs, trial = Runs(at), SimpleNamespace(key="t")
    (at / "t").mkdir()
    arrays = {"floats": np.arange(40) % 4, "integers": np.arange(40) % 3}
    np.savez_compressed(at / "t/predictions.npz", **arrays)
    return at / "t/predictions.npz", lambda: runs.predictions(trial).tolist()


KINDS = (network, training, pruning, model, windows, result, predictions)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_no_flipped_bit_changes_what_is_read(tmp_path, kind):
    path, read = kind(tmp_path)
    good, wanted = path.read_bytes(), read()
    rng, refused, flips = np.random.default_rng(16), 0, FLIPS.get(kind.__name__, 400)
    for bit in rng.integers(0, 8 * len(good), flips).tolist():
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert read() == wanted, bit
        except LnpError as e:
            refused += 1
            assert e.what and e.try_next and "\n" not in e.what + e.try_next, bit
    assert refused > flips / 4
    path.write_bytes(good)
    assert read() == wanted


def test_no_flipped_bit_changes_a_sample_of_a_log(tmp_path):
    """It loses samples, and then a gap is there: what follows begins anew."""
    path = tmp_path / "l.jsonl"
    log = Log(path, MODEL, "somewhere")
    wanted = [Sample(row, round(0.01 * k, 6)) for k, row in enumerate(tiny_counts(MODEL, 30))]
    for sample in wanted:
        log.event(sample)
    log.close()
    good, known = path.read_bytes(), [(s.t, s.counts.tolist()) for s in wanted]
    rng, lost = np.random.default_rng(16), 0
    for bit in rng.integers(0, 8 * len(good), 400).tolist():
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        before = -1
        source = Source(str(path), MODEL, tell=print)
        if not damaged.startswith(b"{"):
            with pytest.raises(LnpError):
                list(source)
            continue
        for event in source:
            if isinstance(event, Gap):
                before = None
                continue
            now = known.index((event.t, event.counts.tolist()))
            assert before is None or now == before + 1 or before == -1, bit
            before, lost = now, lost + (before is None)
    assert lost > 100


def no(key):
    return lambda tensors, meta: tensors.pop(key, None) is None and meta.pop(key)


def tensor(key, change):
    return lambda tensors, meta: tensors.update({key: change(tensors[key])})


def text(**changes):
    return lambda tensors, meta: meta.update(changes)


LEAF, MOMENT = "leaf w_in", "optimiser 0 exp_avg"
FORGED = {
    "a leaf is missing": no(LEAF),
    "an average is missing": no("average w_in"),
    "a moment is missing": no(MOMENT),
    "a step is missing": no("optimiser 0 step"),
    "no key": no("key"),
    "no history": no("history"),
    "no generator": no("rng"),
    "a leaf more": lambda tensors, meta: tensors.update({"leaf x": tensors[LEAF].clone()}),
    "a moment of a leaf more": lambda tensors, meta: tensors.update({"optimiser 99 step": tensors[LEAF].clone()}),
    "a word": lambda tensors, meta: tensors.update({"x": tensors[LEAF].clone()}),
    "NaN in a leaf": tensor(LEAF, lambda a: a * np.nan),
    "NaN in an average": tensor("average w_in", lambda a: a * np.nan),
    "infinite moment": tensor(MOMENT, lambda a: a + np.inf),
    "a leaf of one number": tensor(LEAF, lambda a: a[:1, :1]),
    "a leaf that is turned": tensor(LEAF, lambda a: a.T.contiguous()),
    "a leaf in double": tensor(LEAF, lambda a: a.double()),
    "a moment of one number": tensor(MOMENT, lambda a: a.flatten()[:1]),
    "a step for each": tensor("optimiser 0 step", lambda a: a.expand(3).contiguous()),
    "history of NaN": text(history='[{"loss": NaN}]'),
    "infinite history": text(history='[{"loss": 1e999}]'),
    "history of text": text(history='[{"loss": "0.5"}]'),
    "history of other measures": text(history='[{"accuracy": 0.5}]'),
    "history that changes": text(history='[{"loss": 0.5}, {"loss": 0.5, "accuracy": 0.5}]'),
    "empty history": text(history="[]"),
    "history as a table": text(history="{}"),
    "history of a number": text(history="5"),
    "history without end": text(history="[" * 100_000),
    "no JSON": text(history="{"),
    "generator of a number": text(rng="5"),
    "generator of another kind": text(rng='{"bit_generator": "MT19937"}'),
    "generator without a state": text(rng='{"bit_generator": "PCG64"}'),
    "generator of a negative state": text(
        rng='{"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}, "has_uint32": 0, "uinteger": 0}'
    ),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_training_checkpoint_of_another_structure_is_refused(tmp_path, change):
    """With the right CRC: as another version, or somebody by hand, would write it."""
    path, read = training(tmp_path)
    from safetensors.torch import load, save

    data = path.read_bytes()[:-4]
    tensors, meta = load(data), json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    change(tensors, meta)
    forged = save(tensors, meta)
    path.write_bytes(forged + zlib.crc32(forged).to_bytes(4, "little"))
    with pytest.raises(ModelError) as e:
        read()
    assert "is no checkpoint" in e.value.what and "delete it" in e.value.try_next
