"""Who may import whom: the contract stands alone, and only training needs torch."""

import ast
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


PLACES = ("lnp_edge", "firmware_gen", "runtime", "boards")


def module_name(path):
    """The name a file is imported by: folders at the top are imported as lnp_edge.<folder>."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "lnp_edge" else ("lnp_edge", *parts)).removesuffix(".__init__")


def modules(*folders):
    found = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert found
    return found


NAMES = {module_name(path) for path in modules(*PLACES)}


@cache
def nodes(path):
    return tuple(ast.walk(ast.parse(path.read_text())))


@cache
def imports(path):
    """Every module a file imports, by its absolute name; of our own the module, else module.name."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(node.module if node.module in NAMES and full not in NAMES else full)
    return found


def within(name, *packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def outside(names, *allowed):
    others = {name for name in names if not within(name, *allowed)}
    return {name for name in others if name.partition(".")[0] not in sys.stdlib_module_names}


def test_the_contract_imports_numpy_numba_and_itself_only():
    for path in modules("lnp_edge/spec"):
        allowed = ("numpy", "numba", "lnp_edge.spec", "lnp_edge.base.errors", "lnp_edge.base.files")
        assert outside(imports(path), *allowed) == set(), path


@pytest.mark.parametrize(("folder", "forbidden"), [
    ("firmware_gen", ("lnp_edge.runtime", "torch", "scipy", "onnx", "numba")),
    ("runtime", ("lnp_edge.firmware_gen", "torch", "scipy", "onnx")),
    ("boards", ("lnp_edge.firmware_gen", "lnp_edge.runtime", "torch", "numpy")),
    ("lnp_edge/base", ("lnp_edge.spec", "lnp_edge.runtime", "torch")),
    ("lnp_edge/spec", ("lnp_edge.firmware_gen", "lnp_edge.runtime", "torch", "lnp_edge.boards")),
    ("lnp_edge/neurons", ("lnp_edge.firmware_gen", "lnp_edge.runtime", "torch")),
    ("lnp_edge/layouts", ("lnp_edge.firmware_gen", "lnp_edge.runtime", "torch")),
    ("lnp_edge/encoders", ("lnp_edge.firmware_gen", "lnp_edge.runtime", "torch")),
    ("lnp_edge/network", ("lnp_edge.firmware_gen", "lnp_edge.runtime", "lnp_edge.training", "torch")),
    ("lnp_edge/dynamics", ("lnp_edge.firmware_gen", "lnp_edge.runtime", "lnp_edge.training", "torch")),
    ("lnp_edge/pruning", ("lnp_edge.firmware_gen", "lnp_edge.runtime", "torch")),
    ("lnp_edge/readers", ("lnp_edge.recordings", "lnp_edge.task", "lnp_edge.runtime", "torch")),
    ("lnp_edge/recordings", ("lnp_edge.firmware_gen", "lnp_edge.runtime", "lnp_edge.training", "torch")),
    ("lnp_edge/training", ("lnp_edge.firmware_gen", "lnp_edge.runtime", "lnp_edge.stages")),
])  # fmt: skip
def test_no_package_imports_what_lies_behind_it(folder, forbidden):
    for path in modules(folder):
        assert {name for name in imports(path) if within(name, *forbidden)} == set(), path


def test_no_import_goes_round_in_a_circle():
    """Imports inside functions count: they hide a circle, they do not open it."""
    graph = {module_name(path): imports(path) & NAMES for path in modules(*PLACES)}
    with pytest.raises(CycleError):
        tuple(TopologicalSorter({"a": {"b"}, "b": {"a"}}).static_order())
    tuple(TopologicalSorter(graph).static_order())


def test_lnp_build_needs_nothing_that_prunes():
    """Nor do functions that it calls."""
    of = {module_name(path): imports(path) & NAMES for path in modules(*PLACES)}
    needed, more = set(), {"lnp_edge.commands.build"}
    while more:
        needed |= more
        more = set().union(*(of[name] for name in more)) - needed
    assert "lnp_edge.stages.cost" in needed and not [name for name in needed if within(name, "lnp_edge.pruning")]


def test_a_name_with_an_underscore_stays_in_its_package():
    for path in modules(*PLACES):
        package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and within(node.module, "lnp_edge"):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
                private = [name for name in names if name.startswith("_")]
                assert not private or within(node.module, package), f"{path}: {private}"


def test_torch_is_imported_by_training_alone():
    for path in modules("lnp_edge"):
        if "torch" in {n.partition(".")[0] for n in imports(path)}:
            assert within(module_name(path), "lnp_edge.training"), path


SLOW = ("scipy.stats", "scipy.signal", "sklearn", "pandas", "optuna")  # up to a second each


def test_what_takes_long_to_import_is_imported_by_the_function_that_needs_it():
    for path in modules(*PLACES):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                assert not [alias.name for alias in node.names if within(start + alias.name, *SLOW)], path


def packages(names):
    return {name.partition(".")[0] for name in names}


def test_importing_every_module_of_generator_runtime_and_boards_loads_no_torch(elsewhere):
    imported = set(elsewhere["imported"])
    assert {module_name(path) for path in modules("firmware_gen", "runtime", "boards", "lnp_edge/spec")} <= imported
    assert packages(imported) & {"torch", "sklearn", "matplotlib", "onnx"} == set()
    assert "numba" in packages(imported)


def test_no_command_but_training_loads_torch(elsewhere):
    used = packages(elsewhere["used"])
    assert "onnx" in used and "torch" not in used


def test_lnp_run_without_a_device_loads_nothing_that_generates_c(elsewhere):
    used = elsewhere["used"]
    assert "lnp_edge.commands.run" in used and not [name for name in used if within(name, "lnp_edge.firmware_gen")]
