"""Errors cross process borders: a worker's error must reach the person as two lines."""

import pickle

from lnp_edge.base.errors import ModelError


def test_a_foreign_number_is_cut_and_a_path_is_not():
    path = "/a/folder/of/" + "many/folders/" * 20 + "m.onnx"
    assert ModelError(f"{path}: n is {'7' * 4000}, m -{'1' * 300}", "next").what == (
        f"{path}: n is {'7' * 60}..., m -{'1' * 59}..."
    )
    assert ModelError("7" * 119, "8" * 120).args == ("7" * 119, "8" * 60 + "...")


def test_an_error_comes_back_from_a_worker_process():
    found = pickle.loads(pickle.dumps(ModelError("what", "next")))
    assert (type(found), found.what, found.try_next, str(found)) == (ModelError, "what", "next", "what\n  next")
