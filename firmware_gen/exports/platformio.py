"""PlatformIO: library.json, docs.platformio.org/en/latest/manifests/library-json."""

import json

from lnp_edge.base.version import VERSION
from lnp_edge.firmware_gen import commands
from lnp_edge.firmware_gen.exports._sketch import SKETCH, clock
from lnp_edge.firmware_gen.library import LICENSE, URL, Library

TITLE = "PlatformIO"


def files(library: Library) -> dict[str, str]:
    manifest = {
        "name": library.package,
        "version": VERSION,
        "description": f"{library.about}.",
        "keywords": ["spiking network", "classifier", "sensor"],
        "homepage": URL,
        "license": LICENSE,
        "authors": [{"name": "lnp-edge"}],
        "frameworks": "*",
        "platforms": "*",
        "headers": f"lnp_{library.name}.h",
        "examples": [{"name": "blink", "base": "examples/blink", "files": ["blink.ino"]}],
        "build": {"flags": [commands.KEEP_NULL]},
    }
    return library.placed("src", "src") | {
        "library.json": json.dumps(manifest, indent=2) + "\n",
        "examples/blink/blink.ino": library.fill(SKETCH, **clock(library.model)),
    }


def use(library: Library) -> str:
    return f"""Copy this folder to `lib/{library.package}` of your project, or name it in `platformio.ini`:

```ini
lib_deps = symlink:///path/to/{library.package}
```

`examples/blink/blink.ino` is for the framework `arduino`; the library itself needs no framework."""
