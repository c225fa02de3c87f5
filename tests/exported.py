"""Libraries of lnp generate --as, as test_exports*.py build them, and what the reference decides."""

import subprocess
from dataclasses import replace
from functools import cache

import numpy as np
from tiny import tiny_counts, tiny_model

from lnp_edge.firmware_gen import library
from lnp_edge.firmware_gen.folder import write
from lnp_edge.runtime.host import infer
from lnp_edge.runtime.reference import Reference

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
# What build systems of others set: none of it may change a bit. The example is not ours to warn of there.
FOREIGN = ("-fshort-enums", "-funsigned-char", "-flto", "-O2")
KINDS = library.kinds()
CUT = 120  # samples


@cache
def model():
    return replace(tiny_model(5), hop=5, classes=('le "ft', "rïght??/", "%d", "${x}")).check()


@cache
def samples():
    return tiny_counts(model(), CUT)


def decided(of=None, counts=None):
    """Whether the LED is on after each decision."""
    of, counts = of or model(), samples() if counts is None else counts
    return [p.label == 0 for p in infer(Reference(of), of, counts)]


def rows():
    return "".join(",".join(map(str, row)) + "\n" for row in samples())


def made_in(folder):
    """made(kind, name="net", of=model()) -> the folder of a library, below one that a shell would split."""

    def made(kind, name="net", of=None):
        at = folder / f"my prójects (ü)/lnp_{name}"
        write(library.generate(of or model(), kind, name), at)
        return at

    return made


def run(*command, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def made_up(of, count):
    """The samples that an example makes up."""
    t = np.arange(count)[:, None]
    return (t * (37 + 11 * np.arange(len(of.channels))) % 2000 - 1000).astype(np.int16)
