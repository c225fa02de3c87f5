"""Names of channels and classes that no model file could hold are refused before the training, not after it."""

from dataclasses import replace

import numpy as np
import pytest

from lnp_edge.base.errors import DataError
from lnp_edge.task.dataset import Dataset, check

GOOD = Dataset(
    "x", 0.1, ("ax", "ay"), ("sound", "worn ✓"), (np.zeros((9, 2), np.int16),) * 2, np.arange(2), np.arange(2), (1,),
    group_titles=("one", "two"),
)  # fmt: skip
BAD = ("", "a\nb", "a\0", "\x1b[31mred", "a\tb", "\u202eltr", "n" * 65, "\x7f", "\x9b2J")


@pytest.mark.parametrize("title", BAD)
@pytest.mark.parametrize("what", ["channels", "classes", "group_titles"])
def test_a_name_that_no_file_could_hold_is_refused_and_shown_escaped(what, title):
    assert check(GOOD) is GOOD
    bad = replace(GOOD, **{what: (getattr(GOOD, what)[0], title)})
    if what == "group_titles" and title.isprintable():  # no file holds them
        assert check(bad) is bad
        return
    with pytest.raises(DataError) as e:
        check(bad)
    assert e.value.what.isprintable() and "names" in e.value.what


@pytest.mark.parametrize("what", ["channels", "classes"])
def test_a_name_that_stands_twice_is_refused(what):
    with pytest.raises(DataError, match="is there twice"):
        check(replace(GOOD, **{what: ("again", "again")}))
