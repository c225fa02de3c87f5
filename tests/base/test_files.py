"""A file is read whole and bounded, or refused at once; it is written whole or not at all."""

import os
import stat
import tracemalloc

import pytest

from lnp_edge.base.errors import ConfigError, DataError, ModelError
from lnp_edge.base.files import alone, read_bounded, refuse_unwritable, write_whole


def refusal(path, limit=10):
    with pytest.raises(DataError) as e:
        read_bounded(path, limit, DataError, "hint")
    assert e.value.try_next == "hint"
    return e.value.what


def test_a_file_up_to_the_limit_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    assert read_bounded(tmp_path / "a", 10, DataError, "hint") == b"0123456789"
    assert refusal(tmp_path / "a", 9) == f"{tmp_path / 'a'} has 10 bytes, more than 9"


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    assert "not a regular file" in refusal(tmp_path / "fifo")
    assert "not a regular file" in refusal("/dev/zero")
    assert "Is a directory" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "b")
    assert "symbolic links" in refusal(tmp_path / "loop")
    assert "File name too long" in refusal(tmp_path / ("x" * 300))
    assert "null byte" in refusal("a\0b")


def test_a_file_is_replaced_whole_with_ordinary_permissions(tmp_path):
    umask = os.umask(0o022)
    try:
        for data in (b"first", b"second"):
            write_whole(tmp_path / "a", data)
            assert (tmp_path / "a").read_bytes() == data
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    write_whole(tmp_path / "a", b"old")

    def full(_):
        raise error

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError if isinstance(error, OSError) else KeyboardInterrupt):
        write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("function", [refuse_unwritable, lambda path: write_whole(path, b"data")])
def test_what_cannot_be_written_is_refused(tmp_path, function):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    long = (tmp_path / ("n" * length) for length in (246, 255, 300))
    for path in (tmp_path, tmp_path / "fifo", tmp_path / "no" / "a", tmp_path / "file" / "a", "/proc/a", *long):
        with pytest.raises(ConfigError, match="cannot write") as e:
            function(path)
            write_whole(path, b"data")  # /proc looks writable to root until it is written
        assert "-o" in e.value.try_next
    assert sorted(os.listdir(tmp_path)) == ["fifo", "file"]
    write_whole(tmp_path / ("n" * 245), b"data")


def test_reading_a_small_file_reserves_no_more_memory_than_it_has_bytes(tmp_path):
    (tmp_path / "x").write_bytes(bytes(1000))
    tracemalloc.start()
    read_bounded(tmp_path / "x", 2**31, ModelError, "")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**20


def test_a_file_that_another_process_is_at_work_with_is_refused(tmp_path):
    """A lock is of an open file, so that one process can have what another would."""
    path = tmp_path / "j"
    for _ in range(2):
        with alone(path, "wait"):
            write_whole(path, b"1")
            with pytest.raises(ConfigError) as e, alone(path, "wait"):
                pass
            assert (e.value.what, e.value.try_next) == (f"another lnp is at work with {path}", "wait")
            write_whole(path, b"2")
            with pytest.raises(ConfigError), alone(path, "wait"):
                pass
        assert [p.name for p in tmp_path.iterdir()] == ["j"]
    with pytest.raises(ConfigError, match=r"cannot write .*: No such file"), alone(tmp_path / "no" / "j", "wait"):
        pass
