"""Half lists: every pair once, in any cell, and every shortage seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.neighbors import half_list, lists

pytestmark = pytest.mark.skipif(not half_list.available("float64"), reason="needs numba")

CELLS = {
    "orthogonal": np.diag([1.0, 1.1, 0.95]),
    "tilted": np.array([[1.0, 0.3, -0.25], [0.0, 1.05, 0.35], [0.0, 0.0, 0.9]]),
    "long": np.array([[0.45, 0.1, 0.0], [0.0, 0.45, 0.1], [0.0, 0.0, 4.0]]),
    "flat": np.array([[2.2, 0.3, 0.0], [0.0, 2.0, 0.1], [0.0, 0.0, 0.45]]),
}


def random_atoms(count: int, length: float, kind: str = "tilted", seed: int = 0) -> Structure:
    """Atoms anywhere, close pairs included, some of them outside the cell."""
    fractional = 3.0 * np.random.default_rng(seed).random((count, 3)) - 1.0
    return Structure.create(fractional, length * CELLS[kind], np.zeros(count, int), ("Cu",))


def rows(half: half_list.HalfList, part: slice) -> list[tuple[int, int]]:
    """The pairs of atoms in the near (0:1), far (1:2) or all (0:2) parts of the rows."""
    order, starts, pairs = map(np.asarray, (half.order, half.starts, half.pairs))
    bounds = np.stack([starts[0:-1:2], starts[1::2], starts[2::2]], axis=1)
    found = []
    for place, ends in enumerate(bounds):
        row = pairs[ends[part.start] : ends[part.stop]]
        found += [tuple(sorted((int(order[place]), int(j)))) for j in order[row]]
    assert len(found) == len(set(found)), "a pair is listed twice"
    return found


def true_pairs(atoms, distance: float) -> set[tuple[int, int]]:
    """The pairs within a distance, by brute force over images."""
    i, j, _ = cases.pairs(geometry.wrap(np.asarray(atoms.fractional)), atoms.cell, distance)
    return {(int(a), int(b)) for a, b in zip(i, j, strict=True) if a < b}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("count, length", [(1, 9.0), (2, 9.0), (150, 9.0), (300, 14.0)])
def test_every_pair_once(kind, count, length):
    """From two cut-offs across, where no side is divided into cells, upwards."""
    atoms = random_atoms(count, length, kind)
    far = float(geometry.heights(atoms.cell).min()) / 2.0 - 2e-3
    far = min(far, 5.0)
    near = 0.7 * far
    half, short = half_list.make(atoms, near, far, count * count + 1)
    assert not short
    assert sorted(half.order.tolist()) == list(range(count))
    margin = 2e-3
    found, close = set(rows(half, slice(0, 2))), set(rows(half, slice(0, 1)))
    assert true_pairs(atoms, far) <= found <= true_pairs(atoms, far + margin)
    assert true_pairs(atoms, near) <= close <= true_pairs(atoms, near + margin)


def test_many_cells():
    """More atoms than fit in one stretch, cells that are empty and cells that are full."""
    atoms = random_atoms(700, 40.0)
    clumped = atoms.fractional.at[:400].multiply(0.3)
    atoms = atoms.replace(fractional=clumped)
    half, short = half_list.make(atoms, 4.0, 4.0, 400_000)
    assert not short
    assert true_pairs(atoms, 4.0) <= set(rows(half, slice(0, 2))) <= true_pairs(atoms, 4.002)
    assert not rows(half, slice(1, 2))


def test_too_many_pairs_are_said():
    """The list never names an atom that is not there, full or not."""
    atoms = random_atoms(300, 14.0)
    whole, _ = half_list.make(atoms, 4.0, 5.0, 50_000)
    needed = int(whole.starts[-1])
    exact, short = half_list.make(atoms, 4.0, 5.0, needed)
    assert not short and np.array_equal(exact.pairs, whole.pairs[:needed])
    for room in (needed - 1, needed // 2, 1):
        half, short = half_list.make(atoms, 4.0, 5.0, room)
        assert short
        assert 0 <= np.min(half.pairs) and np.max(half.pairs) < 300
        assert np.all(np.diff(half.starts) >= 0) and half.starts[-1] <= room


def test_cells_that_are_none():
    """A thin cell or one of NaN is refused; an atom whose position is NaN is near nothing."""
    atoms = random_atoms(60, 9.0)
    for cell in (atoms.cell * 0.3, atoms.cell * jnp.nan, atoms.cell * 0.0):
        half, short = half_list.make(atoms.replace(cell=cell), 4.0, 4.0, 5000)
        assert short and half.starts[-1] == 0
    lost = atoms.replace(fractional=atoms.fractional.at[7, 1].set(jnp.nan))
    half, short = half_list.make(lost, 3.5, 3.5, 5000)
    found = rows(half, slice(0, 2))
    assert not short and not any(7 in pair for pair in found)
    others = {pair for pair in true_pairs(atoms, 3.5) if 7 not in pair}
    assert others <= set(found)


def test_under_jit_and_vmap():
    """Lanes are what each is alone, to the order of the pairs, which a resumed run relies on."""
    lanes = [random_atoms(200, 12.0, seed=seed) for seed in range(3)]
    alone = [half_list.make(one, 3.0, 4.0, 6000) for one in lanes]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *lanes)
    together = jax.jit(jax.vmap(lambda one: half_list.make(one, 3.0, 4.0, 6000)))(stacked)
    for place, one in enumerate(alone):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(together), strict=True):
            assert np.array_equal(a, b[place])


@pytest.mark.parametrize("form", (lists.HALF, lists.BOTH))
def test_lists_of_every_form(form):
    """The list that `allocate` makes has the pairs of the tables; a longer one is found for it."""
    atoms = random_atoms(300, 14.0)
    tables = lists.allocate(atoms, 4.0, 0.6, inner=3.0)
    made = lists.allocate(atoms, 4.0, 0.6, inner=3.0, form=form)
    assert not made.overflow and lists.form_of(made.spec) == form
    place, atom = np.nonzero(np.asarray(lists.table(tables)) < 300)
    idx = np.asarray(lists.table(tables))
    full = {tuple(sorted((int(a), int(idx[p, a])))) for p, a in zip(place, atom, strict=True)}
    assert full == set(rows(made.half, slice(0, 2)))
    assert bool(made.zones) == (form == lists.BOTH)
    short = lists.make(made.spec._replace(half=made.half.starts[-1].item() - 1), atoms)
    assert short.overflow
    longer = lists.longer(short.spec, atoms)
    assert lists.form_of(longer) == form and longer.half > short.spec.half
    assert not lists.make(longer, atoms).overflow
    # What was saved with one kind of kernel goes on with another.
    assert lists.suited(made.spec, atoms, form) is made.spec
    other = lists.suited(made.spec, atoms, lists.TABLES)
    assert lists.form_of(other) == lists.TABLES and other.cutoff == made.spec.cutoff


def test_a_shrinking_cell_makes_a_half_list_too_thin():
    atoms = random_atoms(150, 9.0)
    made = lists.allocate(atoms, 3.0, 0.6, form=lists.HALF)
    assert not made.overflow
    assert lists.rebuild(made, atoms.replace(cell=0.85 * atoms.cell)).overflow
