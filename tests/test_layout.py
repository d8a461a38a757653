"""The architecture as a test: packages stand on floors, and each dependency has its place."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "stzjax"
FLOORS = (
    ("core", "numerics"),
    ("neighbors",),
    ("io",),
    ("potentials",),
    ("mechanics",),
    ("dynamics", "shear"),
    ("descriptors",),
    ("learning",),
    ("evaluation",),
    ("figures", "run_folder"),
    ("report",),
    ("pipeline",),
)
"""A package imports from those on the floors above it in this list, and from itself."""
FLOOR = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}
ALLOWED = {
    "jax_md": {"potentials", "mechanics", "dynamics"},
    "jraph": {"learning"},
    "jinja2": {"report"},
    "matplotlib": {"figures"},
    "plotly": {"figures"},
    "tqdm": {"pipeline"},
    "sklearn": {"learning"},
    "numba": {"numerics", "neighbors", "potentials"},
    "llvmlite": {"numerics"},
    "absl": set(),
    "ase": {"core", "io"},
}
"""The packages that may import each of these libraries."""
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    """Dotted name below stzjax; a package's is that of its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path) -> list[tuple[str, ...]]:
    """Dotted names that a file imports, as tuples; absolute ones, for there are no others."""
    found = []
    tree = ast.parse(path.read_text())
    # What only a type checker imports makes no circle.
    tree.body = [node for node in tree.body if not _is_for_types(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            base = tuple(node.module.split("."))
            found += [(*base, alias.name) for alias in node.names]
    return found


def _is_for_types(node: ast.stmt) -> bool:
    test = node.test if isinstance(node, ast.If) else None
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def test_every_file_is_in_a_package_with_a_floor():
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(FLOOR) == {path.relative_to(PACKAGE).parts[0] for path in FILES[1:]}


@pytest.mark.parametrize("path", FILES[1:], ids=lambda path: module_of(path))
def test_imports_flow_down(path):
    own = module_of(path).split(".")[0]
    for name in imports(path):
        if name[0] == "stzjax":
            other = name[1]
            above = other == own or FLOOR[other] < FLOOR[own]
            assert above, f"{own} imports {other}, which does not stand above it"
        elif name[0] in ALLOWED:
            assert own in ALLOWED[name[0]], f"{own} imports {name[0]}"


def test_no_import_cycles():
    edges = {}
    for own, path in MODULES.items():
        names = [".".join(name[1:]) for name in imports(path) if name[0] == "stzjax"]
        # What a name is imported from may be a module or a name in one.
        modules = {name if name in MODULES else name.rpartition(".")[0] for name in names}
        edges[own] = modules - {own, ""}
    done: set[str] = set()

    def visit(node, trail):
        assert node not in trail, f"import cycle: {' -> '.join((*trail, node))}"
        if node in done:
            return
        for target in edges[node]:
            # A package's own __init__ gathers its modules.
            if not trail or target != trail[-1].rpartition(".")[0]:
                visit(target, (*trail, node))
        done.add(node)

    for node in edges:
        if node:
            visit(node, ())


OUTSIDE = [path for path in FILES if PACKAGE / "potentials" not in path.parents]
OUTSIDE += sorted((ROOT / "experiments").glob("*.py"))


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_potentials_know_what_they_are_made_of(path):
    inside = {"anchor", "bond_weight", "density", "density_cutoff", "embedding", "pair"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            asked = owner.endswith("potential") and node.attr in inside
            assert not asked, f"{path} asks a potential for {node.attr}"
    for name in imports(path):
        if name[:2] == ("stzjax", "potentials"):
            assert name[2:3] in ((), ("potential",), ("prepared",), ("BUILT_IN",)), (
                f"{path}: {'.'.join(name)}"
            )


def test_packages_say_what_lives_there():
    for package in FLOOR:
        text = ast.get_docstring(ast.parse(MODULES[package].read_text()))
        assert text and len(text.split()) > 15, f"{package}/__init__.py does not say what it holds"


def test_modules_are_known_by_their_names():
    for path in [*FILES, *(ROOT / "experiments").glob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "stzjax":
                for alias in node.names:
                    renamed = f"{node.module}.{alias.name} as {alias.asname}"
                    assert alias.asname is None, f"{path} imports {renamed}"


def test_scripts_hold_no_physics():
    for path in (ROOT / "experiments").glob("*.py"):
        # What is measured against a peer calls the peer.
        peers = {"scipy"} if path.stem.endswith("_suite") else set()
        roots = {name[0] for name in imports(path)}
        assert not roots & ({"jax_md", "jraph", "flax", "optax", "scipy"} - peers), path


def test_ci_runs_the_readme_test_command():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    command = next(line for line in ci.splitlines() if line.endswith("pytest"))
    assert command in readme.splitlines()
