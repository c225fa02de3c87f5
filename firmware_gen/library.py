"""A network as a library for a program of one's own: sources, headers, and what the examples of all kinds share.

A library has no main and links nothing. All that it defines for a linker begins with lnp_<name>_, so that several
libraries go into one program whatever its build system does with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Template
from types import ModuleType

from lnp_edge.base.errors import ConfigError
from lnp_edge.base.version import VERSION
from lnp_edge.firmware_gen import commands, folder, network
from lnp_edge.firmware_gen.generate import PLAIN, check_name, example, is_taken, taken
from lnp_edge.firmware_gen.network import CSRC
from lnp_edge.spec import layout, plugins
from lnp_edge.spec.model import QuantizedModel

EXPORTS = "lnp_edge.firmware_gen.exports"
TYPES = "lnp_types.h"  # which a caller sees
LICENSE = "Apache-2.0"
URL = "https://arxiv.org/abs/2403.03409"  # of the method
# commands.KEEP_NULL, where a user's build knows nothing of it. clang has no such pragma, and no need of it.
KEEP_NULL = """
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-delete-null-pointer-checks")  // without it gcc 12.2 may drop sums of more than 256 neurons
#endif
"""
LICENSE_TEXT = f"""SPDX-License-Identifier: {LICENSE}

The code of this library comes from lnp-edge {VERSION} and is licensed under the Apache License,
Version 2.0: https://www.apache.org/licenses/LICENSE-2.0. You may use it in products, closed ones
too, and change it; keep this notice. It comes without any warranty.

The tables in lnp_*_tables.c are what was trained. They belong to whoever trained the network, and
lnp-edge claims nothing of them. Whether the training data set a condition, its licence says.
"""


@dataclass(frozen=True)
class Library:
    """package : its name everywhere;  headers : those that a caller includes;  private : the others"""

    model: QuantizedModel
    name: str
    sources: dict[str, str]
    headers: dict[str, str]
    private: dict[str, str]

    @property
    def package(self) -> str:
        return f"lnp_{self.name}"

    @property
    def about(self) -> str:
        """One line of plain ASCII without quotes."""
        m = self.model
        what = "forecasts" if m.forecast else f"{m.n_out} classes"
        return f"Spiking network {m.fingerprint:08x}: {len(m.channels)} channels to {what}, in integers, without a heap"

    def placed(self, sources: str, headers: str) -> dict[str, str]:
        """The files by path, in a folder for sources and private headers and in one for the other headers."""
        inner = {f"{sources}/{path}": text for path, text in (self.sources | self.private).items()}
        return inner | {f"{headers}/{path}": text for path, text in self.headers.items()}

    def fill(self, text: str, **more: str) -> str:
        """A template of a file with the library's words, and those of its kind."""
        m, up = self.model, self.name.upper()
        if m.forecast:
            first = f"the forecast of {m.classes[0]} is above the last value"
            test = "decision.y[0] > 0"
        else:
            first, test = f"the class is {m.classes[0]}", f"{'!decision.unknown && ' * _unknown(m)}decision.label == 0u"
        safe = "".join(c if c.isascii() and c.isprintable() and c not in "\\?" else "_" for c in first)
        return Template(text).substitute(
            package=self.package, name=self.name, NAME=up, PACKAGE=self.package.upper(), version=VERSION,
            about=self.about, license=LICENSE, url=URL, option=commands.KEEP_NULL, first=safe, test=test,
            what="forecast" if m.forecast else "decision",
            sources="\n".join(f"    @/{path}" for path in sorted(self.sources)), **more,
        )  # fmt: skip


def _unknown(model: QuantizedModel) -> bool:
    return model.decision.least > 0 or model.decision.ranged(model.window)


def kinds() -> list[str]:
    return [name.replace("_", "-") for name in plugins.names(EXPORTS)]


def generate(model: QuantizedModel, kind: str, name: str = PLAIN) -> dict[str, str]:
    """Every file of a library of a kind. The same model always gives the same bytes."""
    if kind not in kinds():
        raise plugins.unknown("kind of library", kind, kinds(), "firmware_gen/exports/")
    check_name(name)
    if name != PLAIN and (word := taken(_own_and_shared(model, PLAIN), name)):
        raise is_taken(name, word)
    module = plugins.get(EXPORTS, kind.replace("-", "_"))
    found = library(model, name)
    files = module.files(found) | {"README.md": _readme(found, module), "LICENSE": LICENSE_TEXT}
    wrong = [path for path in files if not folder.FILE.fullmatch(path)]
    if wrong:
        raise ConfigError(f"{kind} makes a file {wrong[0]!r}", "letters, digits and _ . - in at most five parts")
    return folder.library(name, kind, files)


def library(model: QuantizedModel, name: str) -> Library:
    found = _own_and_shared(model, name)
    every = {path.replace("lnp_crc32", f"lnp_{name}_crc32"): _own(text, name) for path, text in found.items()}
    main = f"lnp_{name}.c"
    first, rest = every[main].split("#include", 1)
    every[main] = f"{first.rstrip()}\n{KEEP_NULL}\n#include{rest}"
    headers = {f"lnp_{name}.h": every.pop(f"lnp_{name}.h"), TYPES: (CSRC / TYPES).read_text("utf-8")}
    sources = {path: text for path, text in every.items() if path.endswith(".c")}
    return Library(model, name, sources, headers, {p: t for p, t in every.items() if p not in sources})


def _own_and_shared(model: QuantizedModel, name: str) -> dict[str, str]:
    files = network.files(model, name)
    return files | {path: text for path, text in network.shared(files).items() if path != TYPES}


def _own(text: str, name: str) -> str:
    """The text with the checksum's function and header under a name of this model: two libraries may not share one."""
    text = re.sub(r"\blnp_crc32", f"lnp_{name}_crc32", text)
    return re.sub(r"\bLNP_CRC32_H", f"LNP_{name.upper()}_CRC32_H", text)


def _readme(found: Library, module: ModuleType) -> str:
    m = found.model
    return Template((CSRC / "library.md.in").read_text("utf-8")).substitute(
        title=module.TITLE,
        package=found.package,
        name=found.name,
        NAME=found.name.upper(),
        about=found.about,
        use=module.use(found).strip(),
        table_bytes=layout.table_bytes(m),
        state_bytes=layout.state_bytes(m),
        count=m.open_windows,
        **example(m, found.name),
    )
