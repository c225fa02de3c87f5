"""For the fixture elsewhere of conftest.py: what a process of its own loads, and the bytes that it makes of models.

Its last line is an object in JSON:
imported   all modules, after those of the generator, the runtime, the boards and the contract were imported
used       all modules, after COMMANDS, none of which trains; of lnp itself those that the last one needs
c          the SHA-256 of the C of MODELS
onnx       the CRC-32 of each model of ALL as ONNX
"""

import hashlib
import json
import pkgutil
import sys
import zlib
from importlib import import_module
from pathlib import Path

COMMANDS = (
    "boards",
    "doctor --json",
    "generate F/m.onnx --board host -o F/firmware",
    "build F/firmware",
    "flash F/firmware --dry-run",
    "verify F/m.onnx --board host --steps 20",
    "quantize F/n.safetensors --bits 6 -o F/q.onnx",
    "run F/m.onnx --source F/a.csv",
)


def run(line: str, folder: Path) -> None:
    from lnp_edge.cli import main

    assert main([word.replace("F/", f"{folder}/") for word in line.split()]) == 0, line


def as_c() -> str:
    from tiny import MODELS

    from lnp_edge import boards
    from lnp_edge.firmware_gen.generate import generate

    files = [list(generate(make(), boards.get("nucleo-f401re")).items()) for make in MODELS.values()]
    return hashlib.sha256(repr(files).encode()).hexdigest()


def as_onnx() -> list[int]:
    from tiny import ALL

    from lnp_edge.interchange.onnx_file import to_proto

    return [zlib.crc32(to_proto(make()).SerializeToString(deterministic=True)) for make in ALL.values()]


if __name__ == "__main__":
    folder, objects = map(Path, sys.argv[1:])
    for package in ("firmware_gen", "runtime", "boards", "spec"):
        name = f"lnp_edge.{package}"
        for module in pkgutil.walk_packages(import_module(name).__path__, f"{name}."):
            import_module(module.name)
    found = {"imported": sorted(sys.modules)}

    from compiled import shared
    from nets import tiny_network
    from tiny import tiny_model

    from lnp_edge.config import Config
    from lnp_edge.firmware_gen import build
    from lnp_edge.interchange import onnx_file
    from lnp_edge.network import file as network_file
    from lnp_edge.quantization import report

    report.STEPS = 200  # what it tells is not asked here
    build.subprocess = shared(objects)
    onnx_file.save(tiny_model(), folder / "m.onnx")
    of_spar = network_file.NetworkFile(tiny_network(n=8, c=6, o=7, dt=0.04), Config(), {})
    network_file.save(of_spar, folder / "n.safetensors")
    (folder / "a.csv").write_text("1,2,3\n" * 25)
    for line in COMMANDS[:-1]:
        run(line, folder)
    found |= {"c": as_c(), "onnx": as_onnx()}
    for name in [name for name in sys.modules if name.partition(".")[0] == "lnp_edge"]:
        del sys.modules[name]
    run(COMMANDS[-1], folder)
    print(json.dumps(found | {"used": sorted(sys.modules)}))
