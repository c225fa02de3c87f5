"""Each protection of the firmware is taken away once: the test that is named beside it must then fail.

So no protection is there for nothing, and no test passes whatever the device does. Those of the host are in
tests/runtime/test_link_controls.py.
"""

import queue

import pytest
import test_c_link
from conftest import need
from test_c_link import Line, large_model
from tiny import tiny_model

from lnp_edge import boards
from lnp_edge.firmware_gen.build import build
from lnp_edge.firmware_gen.generate import generate, write

pytestmark = pytest.mark.slow

# A protection: the file, what stands there, what is put there instead, and the test of test_c_link.py that fails.
PROTECTIONS = {
    "the CRC of a request": (
        "lnp_link.c",
        "return lnp_get_u32(frame + length - CRC) == lnp_crc32(0, frame, (size_t)(length - CRC));",
        "return true;",
        test_c_link.test_what_is_damaged_is_refused_once_for_each_delimiter_and_what_is_foreign_gets_no_answer,
    ),
    "the length of a request": (
        "lnp_link.c",
        "lnp_get_u16(frame + LNP_WIRE_LEN_AT) != length - HEADER - CRC",
        "false",
        test_c_link.test_what_is_damaged_is_refused_once_for_each_delimiter_and_what_is_foreign_gets_no_answer,
    ),
    "the answer to damage": (
        "lnp_link.c",
        "send_nak(link, link->sid, 0, LNP_NAK_DAMAGED);",
        "",
        test_c_link.test_what_is_damaged_is_refused_once_for_each_delimiter_and_what_is_foreign_gets_no_answer,
    ),
    "silence to replies": (
        "lnp_link.c",
        "frame[LNP_WIRE_TYPE_AT] < LNP_REPLY_NAK",
        "true",
        test_c_link.test_what_is_damaged_is_refused_once_for_each_delimiter_and_what_is_foreign_gets_no_answer,
    ),
    "the bound of the buffer": (
        "lnp_cobs.c",
        "d->length >= d->most",
        "d->frame == 0",
        test_c_link.test_what_is_damaged_is_refused_once_for_each_delimiter_and_what_is_foreign_gets_no_answer,
    ),
    "the session": (
        "lnp_link.c",
        "!link->open || sid != link->sid) {\n        send_nak",
        "!link->open) {\n        send_nak",
        test_c_link.test_without_hello_and_from_another_session_nothing_is_done,
    ),
    "the answer from memory": (
        "lnp_link.c",
        "link->request_crc == crc;",
        "link->request_crc == ~crc;",
        test_c_link.test_a_repeated_request_is_answered_from_memory,
    ),
    "the CRC of what is in memory": (
        "lnp_link.c",
        "link->request_crc == crc;",
        "crc != 0;",
        test_c_link.test_a_repeated_request_is_answered_from_memory,
    ),
    "the run of a reset": (
        "lnp_serve.c",
        "lnp_get_reset_after(payload) != link->run",
        "false",
        test_c_link.test_a_late_reset_or_step_of_another_run_does_nothing,
    ),
    "the run of a step": (
        "lnp_serve.c",
        "lnp_get_steps_run(payload) != link->run",
        "false",
        test_c_link.test_a_late_reset_or_step_of_another_run_does_nothing,
    ),
    "the number of a step": (
        "lnp_serve.c",
        "lnp_get_steps_t(payload) != link->net.t",
        "false",
        test_c_link.test_a_repeated_request_is_answered_from_memory,
    ),
    "the range of a read": (
        "lnp_serve.c",
        "offset > table->bytes || count > table->bytes - offset",
        "false",
        test_c_link.test_wrong_types_lengths_and_ranges_are_refused,
    ),
    "the range of the state": (
        "lnp_serve.c",
        "count > LNP_STATE_WORDS - word",
        "false",
        test_c_link.test_wrong_types_lengths_and_ranges_are_refused,
    ),
    "the room for a reply to a read": (
        "lnp_serve.c",
        "count > LNP_MAX_PAYLOAD - LNP_REPLY_READ_REST",
        "false",
        test_c_link.test_what_does_not_fit_a_reply_is_refused,
    ),
    "the room for the state": (
        "lnp_serve.c",
        "count > (LNP_MAX_PAYLOAD - LNP_REPLY_STATE_REST) / 4u",
        "false",
        test_c_link.test_what_does_not_fit_a_reply_is_refused,
    ),
}
FAILS = (AssertionError, BrokenPipeError)


class Late(Exception):
    """The answer came after all: the machine was busy."""


class Impatient(Line):
    """Where an answer is waited for too long, the firmware is let end: then it has answered all that it got."""

    def read(self):
        try:
            return super().read()
        except queue.Empty:
            self.process.stdin.close()
        if self.frames.get(timeout=Line.patience) is not None:
            raise Late
        raise AssertionError("no answer")


def fails(test, image, patience):
    """Whether the test of a line fails; the patience decides only when that is known."""
    line = Impatient(image)
    line.patience = patience
    try:
        with pytest.raises(FAILS):
            test(line)
            line.close()  # what the sanitizer found
    except Late:
        return False
    finally:
        line.process.kill()
        line.process.wait()
    return True


@pytest.mark.parametrize("name", PROTECTIONS)
def test_without_a_protection_its_test_fails(tmp_path, name):
    need("gcc")
    file, old, new, test = PROTECTIONS[name]
    model = large_model() if test is test_c_link.test_what_does_not_fit_a_reply_is_refused else tiny_model()
    write(generate(model, boards.get("host"), "net"), tmp_path)
    source = (tmp_path / file).read_text()
    assert source.count(old) == 1
    (tmp_path / file).write_text(source.replace(old, new))
    image = build(tmp_path, sanitize=True).image
    assert any(fails(test, image, patience) for patience in (0.3, 3.0, 30.0, 120.0))
