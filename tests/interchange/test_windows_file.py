"""model.onnx.windows: it comes back as it was, and a damaged one or another model's is refused in two lines."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from damage import cut, flipped
from safetensors.numpy import save as save_tensors
from tiny import tiny_front, tiny_model

from lnp_edge.base.errors import ModelError
from lnp_edge.interchange import onnx_file, windows_file

MODEL = tiny_model(n_in=2)
COUNTS = np.random.default_rng(1).integers(-32768, 32768, (5, 10, 2)).astype(np.int16)


@pytest.fixture
def at(tmp_path):
    """The path of a model whose windows are beside it."""
    windows_file.save(MODEL, COUNTS, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def refused(model, at):
    with pytest.raises(ModelError) as e:
        windows_file.load(model, at)
    assert str(windows_file.path_of(at)) in e.value.what and "lnp quantize" in e.value.try_next
    return e.value.what


def put(at, counts, fingerprint=MODEL.fingerprint, crc=None, **tensors):
    """A file with these contents, whatever they are."""
    meta = {"fingerprint": f"{fingerprint:08x}", "crc32": crc or windows_file._crc(counts)}
    data = save_tensors({"counts": counts, **tensors}, {"lnp_edge": json.dumps(meta)})
    windows_file.path_of(at).write_bytes(data)


def test_it_comes_back_as_it_was_and_equal_windows_give_equal_bytes(at, tmp_path):
    assert windows_file.path_of(at).name == "m.onnx.windows"
    found = windows_file.load(MODEL, at)
    assert found.dtype == np.int16 and found.tolist() == COUNTS.tolist()
    windows_file.save(MODEL, COUNTS[:, ::-1][:, ::-1], tmp_path / "n.onnx")
    assert (tmp_path / "n.onnx.windows").read_bytes() == (tmp_path / "m.onnx.windows").read_bytes()


@pytest.mark.parametrize("moment", range(4))
def test_whenever_the_writing_of_both_stops_no_model_is_beside_the_windows_of_another(tmp_path, monkeypatch, moment):
    path, other, calls = tmp_path / "m.onnx", replace(MODEL, projections=tiny_model(2, n_in=2).projections), []
    windows_file.save_both(MODEL, COUNTS, path)

    def stopping(real):
        def call(*args, **more):
            calls.append(real)
            if len(calls) == moment + 1:
                raise KeyboardInterrupt
            return real(*args, **more)

        return call

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(windows_file.os, "replace", stopping(os.replace))
        m.setattr(Path, "unlink", stopping(Path.unlink))
        windows_file.save_both(other.check(), COUNTS, path)
    found = onnx_file.load(path)
    assert found.fingerprint == (MODEL if moment < 3 else other).fingerprint
    assert windows_file.load(found, path) is None or moment < 2
    windows_file.save_both(other, COUNTS, path)
    assert windows_file.load(other, path).tolist() == COUNTS.tolist() and len(list(tmp_path.iterdir())) == 2


def test_a_model_without_the_file_is_whole(tmp_path):
    assert windows_file.load(MODEL, tmp_path / "m.onnx") is None


def test_a_model_whose_name_leaves_the_file_no_room_is_whole(tmp_path):
    assert windows_file.load(MODEL, tmp_path / ("n" * 255)) is None


def test_a_folder_or_a_huge_file_in_its_place_is_refused(at, monkeypatch):
    file = windows_file.path_of(at)
    monkeypatch.setattr(windows_file, "MAX_BYTES", 100)
    assert "more than 100" in refused(MODEL, at)
    file.unlink()
    file.mkdir()
    refused(MODEL, at)


def test_no_part_of_it_can_be_damaged_unseen(at):
    file = windows_file.path_of(at)
    good = file.read_bytes()
    for bad in (*cut(good, 1), *flipped(good, 1)):
        file.write_bytes(bad)
        try:
            found = windows_file.load(MODEL, at)
        except ModelError as e:
            assert e.what and e.try_next
        else:  # a bit of the header that changes nothing, such as the order of its keys
            assert found.tolist() == COUNTS.tolist()


def test_a_bit_of_the_counts_is_named_as_damage(at):
    file = windows_file.path_of(at)
    good = file.read_bytes()
    for bad in flipped(good, 1, start=len(good) - COUNTS.nbytes):
        file.write_bytes(bad)
        assert "CRC-32" in refused(MODEL, at)


def test_the_windows_of_another_model_are_refused(at):
    other = tiny_model(seed=2, n_in=2)
    what = refused(other, at)
    assert f"{MODEL.fingerprint:08x}" in what and f"{other.fingerprint:08x}" in what


@pytest.mark.parametrize(
    "counts",
    [
        COUNTS.astype(np.int32), COUNTS[0], COUNTS[:, :, :1], COUNTS[:0], COUNTS[:, :0],
        np.zeros((2, windows_file.MOST_STEPS, 2), np.int16), np.zeros((1, windows_file.MOST_STEPS + 1, 2), np.int16),
    ],
)  # fmt: skip
def test_counts_that_are_no_windows_of_this_model_are_refused(at, counts):
    put(at, counts)
    assert str(counts.shape[0]) in refused(MODEL, at)


def test_a_part_of_a_step_is_refused(at):
    model = tiny_front("logdiff", 4)
    c = len(model.channels)
    windows_file.save(model, np.zeros((3, 8, c), np.int16), at)
    assert windows_file.load(model, at).shape == (3, 8, c)
    windows_file.save(model, np.zeros((3, 10, c), np.int16), at)
    refused(model, at)


@pytest.mark.parametrize("meta", ["[]", "1", "{}", '{"fingerprint": 1}', "[" * 500, "x"])
def test_text_that_is_none_of_ours_is_refused(at, meta):
    windows_file.path_of(at).write_bytes(save_tensors({"counts": COUNTS}, {"lnp_edge": meta}))
    refused(MODEL, at)


def test_it_holds_64_windows_spread_over_the_data_or_as_many_steps_as_it_may():
    assert (windows_file.MOST_WINDOWS, windows_file.MOST_STEPS) == (64, 8192)
    numbered = np.arange(1000, dtype=np.int16)[:, None, None] + np.zeros((1, 100, 2), np.int16)
    found = windows_file.some(numbered, 1)
    assert found.shape == (64, 100, 2) and found[[0, 1, -1], 0, 0].tolist() == [0, 15, 999]
    assert windows_file.some(numbered[:3], 1).shape == (3, 100, 2)
    long = np.zeros((9, 5000, 2), np.int16)
    assert windows_file.some(long, 1).shape == (1, 5000, 2)
    assert windows_file.some(long, 4).shape == (6, 5000, 2)
    assert windows_file.some(np.zeros((1, 20_000, 2), np.int16), 1).shape == (1, 8192, 2)


def test_what_some_gives_is_taken_by_load(at):
    model = replace(tiny_front("logdiff", 4), window=40, hop=20).check()
    counts = windows_file.some(np.ones((3000, 40, len(model.channels)), np.int16), 4)
    windows_file.save(model, counts, at)
    assert windows_file.load(model, at).tolist() == counts.tolist()
