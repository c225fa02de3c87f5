"""Errors cross process borders: a worker's error must reach the person as two lines."""

import pickle

from lnp_edge.base.errors import ModelError


def test_an_error_comes_back_from_a_worker_process():
    found = pickle.loads(pickle.dumps(ModelError("what", "next")))
    assert (type(found), found.what, found.try_next, str(found)) == (ModelError, "what", "next", "what\n  next")
