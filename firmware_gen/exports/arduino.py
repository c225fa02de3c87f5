"""Arduino: the library specification 1.5, arduino.github.io/arduino-cli, Library specification."""

import re

from lnp_edge.firmware_gen.exports._sketch import SKETCH, clock
from lnp_edge.firmware_gen.library import Library

TITLE = "Arduino"
PROPERTIES = """name=${package}
version=${version}
author=lnp-edge
maintainer=lnp-edge
sentence=${about}.
paragraph=Takes one sample at a time and says when there is a ${what}.
category=Data Processing
url=${url}
architectures=*
includes=lnp_${name}.h
license=${license}
"""


def files(library: Library) -> dict[str, str]:
    return library.placed("src", "src") | {
        "library.properties": library.fill(PROPERTIES),
        "keywords.txt": _keywords(library),
        "examples/blink/blink.ino": library.fill(SKETCH, **clock(library.model)),
    }


def _keywords(library: Library) -> str:
    """What the editor colours: types, functions and constants of the header, a tab before their kind."""
    header = library.headers[f"lnp_{library.name}.h"]
    own, up = f"lnp_{library.name}", f"LNP_{library.name.upper()}"
    found = dict.fromkeys(re.findall(rf"\b{own}_(?:stream_)?t\b", header), "KEYWORD1") | {"lnp_decision_t": "KEYWORD1"}
    found |= dict.fromkeys(re.findall(rf"\b({own}_\w+)\(", header), "KEYWORD2")
    found |= dict.fromkeys(re.findall(rf"^#define ({up}_\w+) ", header, re.M), "LITERAL1")
    return "".join(f"{word}\t{kind}\n" for word, kind in sorted(found.items()))


def use(library: Library) -> str:
    return f"""Copy this folder to `libraries/{library.package}` of your sketchbook, or choose Sketch, Include Library,
Add .ZIP Library with a ZIP of it. Then open File, Examples, {library.package}, blink.

On AVR the tables stay in flash, in all 32,767 bytes at most; states and the windows of a stream are in RAM."""
