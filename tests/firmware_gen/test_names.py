"""Every name of a model either compiles or is refused: those of C, of its library, and of all our own identifiers."""

import re
import subprocess

import pytest
from conftest import need_for
from tiny import tiny_model

from lnp_edge import boards
from lnp_edge.base.errors import ConfigError
from lnp_edge.firmware_gen import commands, folder, network
from lnp_edge.firmware_gen.generate import generate

MODEL = tiny_model(n=6)
LIBRARY = """abort abs assert atoi bool calloc errno exit fclose feof fflush fopen fprintf fputs fread free fseek fwrite
    getchar int8_t int32_t isatty labs malloc memcmp memcpy memmove memset null offsetof perror poll printf putchar puts
    raise read realloc select setvbuf signal size_t snprintf stderr stdin stdout strlen time uint8_t uint32_t write"""
WERE_WRONG = {"count", "decision", "get", "level", "link", "put", "reply", "request", "state", "table", "types", "wire"}


def ours():
    """Every beginning of every identifier, such as put, put_u and put_u32 of lnp_put_u32."""
    texts = [text for app in (False, True) for text in generate(MODEL, boards.get("host"), app=app).values()]
    words = {word.lower() for text in texts for word in re.findall(r"\b(?:lnp|LNP)_(\w+)", text)}
    parts = {"_".join(word.split("_")[:k]) for word in words for k in range(1, word.count("_") + 2)}
    return {part for part in parts if folder.NAME.fullmatch(part)}


def refused(name, app):
    try:
        return generate(MODEL, boards.get("host"), name, app)
    except ConfigError as e:
        assert repr(name) in e.what and "--name" in e.try_next
        return None


def test_names_that_others_have_are_refused():
    assert ours() >= WERE_WRONG
    assert all(refused(name, app=False) is None for name in WERE_WRONG | network.KEYWORDS)


@pytest.mark.parametrize("app", [False, True], ids=["server", "app"])
@pytest.mark.slow
def test_a_name_that_is_not_refused_compiles(tmp_path, app):
    """Its files alone, with the headers: what another file defines under the same name, a header declares."""
    need_for("host", start=False)
    tools, count = commands.toolchain(boards.get("host")), 0
    for name in sorted(ours() | set(LIBRARY.split())):
        files = refused(name, app)
        if files is None:
            continue
        count += 1
        at = tmp_path / name
        at.mkdir()
        for path, text in files.items():
            (at / path).write_text(text)
        sources = [path for path in files if path.endswith(".c")]
        command = [*commands.compile_command(tools, sources, "x"), "-fsyntax-only"]
        done = subprocess.run(command, cwd=at, capture_output=True, text=True)
        assert done.returncode == 0, (name, done.stderr)
    assert count > 100
