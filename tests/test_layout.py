"""The architecture as a test: data flows one way, and each dependency has its place."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "stzjax"
GROUPS = (
    (
        "base",
        tuple(
            (
                "fusion batches conjugate subspace units structure loading archives lammps_text io"
            ).split()
        ),
    ),
    ("potential", ("potentials",)),
    ("mechanics", ("cells", "neighbors", "kernels", "energetics", "hessians")),
    ("labels", ("nonaffine", "labels")),
    (
        "dynamics",
        tuple(
            (
                "stepping suspend nve npt quasinewton relax implicit specimens quench lanes runs "
                "aqs faults"
            ).split()
        ),
    ),
    ("descriptors", ("descriptors",)),
    ("graphs", ("graphs", "splits")),
    (
        "learning",
        tuple(
            (
                "models losses sampling calibration recipes optimisation training checkpoints "
                "baselines sensitivity"
            ).split()
        ),
    ),
    (
        "judgement",
        tuple(
            (
                "metrics verdict repeats event_sizes shares tables figures gradient_figures "
                "paper_figures report"
            ).split()
        ),
    ),
    ("pipeline", ("pipeline",)),
)
RANK = {module: rank for rank, (_, modules) in enumerate(GROUPS) for module in modules}
ALLOWED = {
    "jax_md": {"npt"},
    "jraph": {"graphs", "models", "optimisation", "training", "sensitivity", "baselines"},
    "matplotlib": {"figures", "gradient_figures", "paper_figures", "report"},
    "plotly": {"figures", "report"},
    "tqdm": {"pipeline"},
    "sklearn": {"baselines"},
    "absl": set(),
    "ase": {"units", "io"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, ...]]:
    """Dotted names that a file imports, as tuples; absolute ones, for there are no others."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            base = tuple(node.module.split("."))
            found += [(*base, alias.name) for alias in node.names]
    return found


def test_every_module_belongs_to_a_group():
    modules = {module_of(path) for path in FILES} - {"__init__"}
    assert modules == set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_flow_down(path):
    own = module_of(path)
    if own == "__init__":
        return
    for name in imports(path):
        if name[0] == "stzjax" and len(name) > 1:
            other = name[1]
            assert RANK[other] <= RANK[own], f"{own} imports {other}, which lies below it"
        elif name[0] in ALLOWED:
            assert own in ALLOWED[name[0]], f"{own} imports {name[0]}"


def test_no_import_cycles():
    edges = {}
    for path in FILES:
        own = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        known = {".".join(p.relative_to(PACKAGE).with_suffix("").parts) for p in FILES}
        targets = {".".join(name[1:]) for name in imports(path) if name[0] == "stzjax"}
        targets |= {".".join(name[1:-1]) for name in imports(path) if name[0] == "stzjax"}
        edges[own] = (targets & known) - {own}
    done: set[str] = set()

    def visit(node, trail):
        assert node not in trail, f"import cycle: {' -> '.join((*trail, node))}"
        if node in done:
            return
        for target in edges[node]:
            visit(target, (*trail, node))
        done.add(node)

    for node in edges:
        if node != "__init__":
            visit(node, ())


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
