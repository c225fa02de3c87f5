"""Who may import whom: the contract stands alone, and only training needs torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import need
from tiny import tiny_model

from lnp_edge import onnx_file

ROOT = Path(__file__).parents[1]


def imports(path):
    """Every module a file imports, as absolute names."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules(folder):
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def outside(names, *allowed):
    others = {name for name in names if not any(name == a or name.startswith(f"{a}.") for a in allowed)}
    return {name for name in others if name.partition(".")[0] not in sys.stdlib_module_names}


def test_the_contract_imports_numpy_numba_and_itself_only():
    for path in modules("lnp_edge/spec"):
        allowed = ("numpy", "numba", "lnp_edge.spec", "lnp_edge.errors", "lnp_edge.files")
        assert outside(imports(path), *allowed) == set(), path


@pytest.mark.parametrize(("folder", "forbidden"), [
    ("firmware_gen", ("runtime", "torch", "scipy", "onnx", "numba")),
    ("runtime", ("firmware_gen", "torch", "scipy", "onnx")),
    ("boards", ("firmware_gen", "runtime", "torch", "numpy")),
    ("lnp_edge/neurons", ("firmware_gen", "runtime", "torch")),
    ("lnp_edge/encoders", ("firmware_gen", "runtime", "torch")),
    ("lnp_edge/pruning", ("firmware_gen", "runtime", "torch")),
    ("lnp_edge/spec", ("firmware_gen", "runtime", "torch", "boards")),
])  # fmt: skip
def test_no_package_imports_what_lies_behind_it(folder, forbidden):
    for path in modules(folder):
        bad = {n for n in imports(path) if n.partition(".")[0] in forbidden}
        assert bad == set(), path


def test_torch_is_imported_by_training_alone():
    for path in modules("lnp_edge"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if "torch" in {n.partition(".")[0] for n in imports(path)}:
            assert name.startswith("lnp_edge.training."), name


def loaded_after(code, *arguments):
    """Top-level packages in sys.modules after some code ran in a new process."""
    code = f"import sys\n{code}\nprint('loaded:', *sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_importing_every_module_of_generator_runtime_and_boards_loads_no_torch():
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
             for folder in ("firmware_gen", "runtime", "boards", "lnp_edge/spec") for p in modules(folder)]  # fmt: skip
    loaded = loaded_after(f"import importlib\nfor name in {names!r}: importlib.import_module(name)")
    assert loaded & {"torch", "sklearn", "matplotlib", "onnx"} == set()
    assert "numba" in loaded


def test_no_command_but_training_loads_torch(tmp_path):
    need("cc")
    onnx_file.save(tiny_model(), tmp_path / "m.onnx")
    (tmp_path / "a.csv").write_text("1,2,3\n" * 25)
    code = """
from lnp_edge.cli import main
folder = sys.argv[1]
for line in ("boards", "doctor --json", "generate F/m.onnx --board host -o F/firmware", "build F/firmware",
             "flash F/firmware --dry-run", "verify F/m.onnx --board host --steps 20", "run F/m.onnx --source F/a.csv"):
    assert main([word.replace("F/", folder + "/") for word in line.split()]) == 0, line
"""
    assert "torch" not in loaded_after(code, tmp_path)
