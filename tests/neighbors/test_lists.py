"""Neighbour lists: no pair within the cut-off is ever missing, and every shortage is seen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import cases

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.neighbors import lists

TILTS = {
    "orthogonal": np.diag([1.0, 1.1, 0.95]),
    "tilted": np.array([[1.0, 0.3, -0.25], [0.0, 1.05, 0.35], [0.0, 0.0, 0.9]]),
}


def random_atoms(count: int, length: float, tilt: str = "tilted", seed: int = 0):
    """Atoms anywhere, close pairs included: a list knows no physics."""
    fractional = np.random.default_rng(seed).random((count, 3))
    cell = length * TILTS[tilt]
    return Structure.create(fractional, cell, np.zeros(count, int), ("Cu",))


def listed(pairs: lists.Neighbors) -> set[tuple[int, int]]:
    """The pairs (atom, neighbour) of a list."""
    return listed_in(np.asarray(lists.table(pairs)))


def listed_in(idx: np.ndarray) -> set[tuple[int, int]]:
    """The pairs of a table (K, N)."""
    place, atom = np.nonzero(idx < idx.shape[1])
    found = list(zip(atom.tolist(), idx[place, atom].tolist(), strict=True))
    assert len(found) == len(set(found)), "a pair is listed twice"
    return set(found)


def true_pairs(atoms, cutoff: float) -> set[tuple[int, int]]:
    """The pairs within a cut-off, by brute force over images."""
    wrapped = geometry.wrap(np.asarray(atoms.fractional))
    i, j, _ = cases.pairs(wrapped, atoms.cell, cutoff)
    return set(zip(i.tolist(), j.tolist(), strict=True))


def assert_within(found: set[tuple[int, int]], atoms, distance: float) -> None:
    """All pairs within a distance, and none further than the search's float32 margin beyond."""
    assert true_pairs(atoms, distance) <= found <= true_pairs(atoms, distance + 2e-3)


def affine(atoms, gradient):
    return atoms.deform(jnp.asarray(gradient))


def sheared(atoms, strain: float, axes=(0, 1)):
    gradient = np.eye(3)
    gradient[axes] = strain
    return affine(atoms, gradient)


@pytest.mark.slow
@pytest.mark.parametrize("tilt", TILTS)
@pytest.mark.parametrize(
    ("count", "length", "cutoff", "grid"), ((120, 12.0, 4.0, False), (600, 22.0, 3.2, True))
)
@pytest.mark.parametrize("skin", (0.0, 0.7))
def test_the_list_holds_exactly_the_pairs_within_reach(tilt, count, length, cutoff, grid, skin):
    atoms = random_atoms(count, length, tilt)
    pairs = lists.allocate(atoms, cutoff, skin=skin)
    assert (pairs.spec.grid.cells != (1, 1, 1)) == grid
    if grid:
        assert max(pairs.spec.grid.cells) >= 4
    assert not pairs.overflow
    assert not lists.is_stale(pairs, atoms) or skin == 0.0
    assert pairs.spec.skin == skin
    assert_within(listed(pairs), atoms, cutoff + skin)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "length", "cutoff"), ((120, 12.0, 4.0), (600, 22.0, 3.2)))
def test_positions_outside_the_cell_and_on_its_faces_are_wrapped(count, length, cutoff):
    atoms = random_atoms(count, length)
    pairs = lists.allocate(atoms, cutoff, skin=0.0, slack=2.0)
    image = np.random.default_rng(1).integers(-2, 3, atoms.fractional.shape)
    away = atoms.replace(fractional=atoms.fractional + image)
    assert_within(listed(lists.rebuild(pairs, away)), atoms, cutoff)
    faces = jnp.array(
        [[0.0, 0.3, 0.4], [1.0, 0.1, 0.2], [0.5, -1e-17, 0.1], [0.5, 0.6, 1 - 2**-53]]
    )
    edge = atoms.replace(fractional=atoms.fractional.at[:4].set(faces))
    assert_within(listed(lists.rebuild(pairs, edge)), edge, cutoff)


def test_displacement_makes_a_list_stale():
    atoms = random_atoms(120, 12.0)
    pairs = lists.allocate(atoms, 4.0, skin=0.6)
    shift = np.zeros((120, 3))
    for length, stale in ((0.29, False), (0.31, True)):
        shift[7] = (0.0, 0.0, length)
        change = jnp.asarray(shift) @ jnp.linalg.inv(atoms.cell).T
        moved = atoms.replace(fractional=atoms.fractional + change)
        assert bool(lists.is_stale(pairs, moved)) == stale
        # Crossing the periodic boundary is no displacement.
        wrapped = moved.replace(fractional=geometry.wrap(moved.fractional))
        assert bool(lists.is_stale(pairs, wrapped)) == stale


@pytest.mark.slow
@pytest.mark.parametrize("axes", ((0, 1), (0, 2), (1, 2)))
def test_pure_shear_makes_a_list_stale(axes):
    # Fractional positions do not move at all, and still pairs are lost.
    atoms = random_atoms(600, 22.0, "orthogonal")
    pairs = lists.allocate(atoms, 3.2, skin=0.3)
    deformed = sheared(atoms, 0.2, axes)
    missing = true_pairs(deformed, 3.2) - listed(pairs)
    assert missing
    assert lists.is_stale(pairs, deformed)
    updated = jax.jit(lists.update)(pairs, deformed)
    assert not updated.overflow
    assert true_pairs(deformed, 3.2) <= listed(updated)
    assert not lists.is_stale(pairs, sheared(atoms, 0.01, axes))


@pytest.mark.slow
@pytest.mark.parametrize("scale", (0.9, 1.1))
def test_a_change_of_volume_is_seen(scale):
    atoms = random_atoms(600, 22.0)
    pairs = lists.allocate(atoms, 3.2, skin=0.3, slack=1.6)
    swollen = affine(atoms, scale * np.eye(3))
    assert lists.is_stale(pairs, swollen)
    missing = true_pairs(swollen, 3.2) - listed(pairs)
    assert (len(missing) > 0) == (scale < 1.0)
    updated = lists.update(pairs, swollen)
    assert not updated.overflow
    assert_within(listed(updated), swollen, 3.5)


def test_a_valid_list_is_kept():
    atoms = random_atoms(120, 12.0)
    pairs = lists.allocate(atoms, 4.0, skin=0.6)
    nudged = sheared(atoms, 0.001)
    assert not lists.is_stale(pairs, nudged)
    kept = lists.update(pairs, nudged)
    assert jnp.array_equal(kept.cell, pairs.cell)
    renewed = lists.update(pairs, sheared(atoms, 0.3))
    assert jnp.array_equal(renewed.cell, sheared(atoms, 0.3).cell)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "length", "cutoff"), ((120, 12.0, 4.0), (600, 22.0, 3.2)))
def test_overflow_is_seen_and_stays(count, length, cutoff):
    atoms = random_atoms(count, length)
    pairs = lists.allocate(atoms, cutoff, skin=0.2, slack=1.0)
    # Everybody in one corner: more neighbours, and more atoms per cell, than there is room for.
    crowd = atoms.replace(fractional=0.6 * atoms.fractional)
    crowded = lists.update(pairs, crowd)
    assert crowded.overflow
    assert lists.rebuild(crowded, atoms).overflow
    anew = lists.allocate(crowd, cutoff, skin=0.2)
    assert not anew.overflow
    assert true_pairs(crowd, cutoff) <= listed(anew)


def test_a_cell_that_shrinks_below_twice_the_reach_overflows():
    # A pair then has two images within reach, of which a list can hold one.
    atoms = random_atoms(120, 12.0, "orthogonal")
    pairs = lists.allocate(atoms, 4.0, skin=0.5, slack=3.0)
    assert not lists.rebuild(pairs, affine(atoms, 0.9 * np.eye(3))).overflow
    assert lists.rebuild(pairs, affine(atoms, 0.75 * np.eye(3))).overflow
    # The same by shear alone, which leaves every edge and the volume as they are.
    assert lists.rebuild(pairs, sheared(atoms, 1.5)).overflow


def test_the_skin_is_shortened_to_fit_the_cell():
    """To tenths; where there is less than that, to thousandths."""
    atoms = random_atoms(60, 9.0, "orthogonal")
    for cutoff, skin in ((4.0, 0.2), (4.2, 0.075)):
        assert 9.0 * 0.95 / 2 - cutoff == pytest.approx(skin if skin < 0.1 else 0.275)
        pairs = lists.allocate(atoms, cutoff, skin=1.0)
        assert pairs.spec.skin == pytest.approx(skin, abs=1.1e-3)
        assert not pairs.overflow
        assert_within(listed(pairs), atoms, cutoff + pairs.spec.skin)


@pytest.mark.parametrize("tilt", TILTS)
def test_a_cell_smaller_than_twice_the_cutoff_is_refused(tilt):
    atoms = random_atoms(60, 8.0, tilt)
    height = geometry.heights(atoms.cell).min()
    with pytest.raises(ValueError, match="use more atoms or replicate") as caught:
        lists.allocate(atoms, height / 2 + 1e-6)
    assert f"{height:.2f}" in str(caught.value)
    exact = lists.allocate(atoms, height / 2 - 1e-9)
    assert exact.spec.skin == 0.0 and not exact.overflow


def test_a_cell_of_exactly_twice_the_cutoff_does_not_overflow():
    # No room for a skin; two of the tilts for which two ways to the height round differently.
    for xy, xz, yz in ((0.1, -0.1, -0.6), (0.2, -0.3, -0.1)):
        cell = 9.0 * np.array([[1.0, xy, xz], [0.0, 1.0, yz], [0.0, 0.0, 1.0]])
        fractional = np.random.default_rng(0).random((10, 3))
        atoms = Structure.create(fractional, cell, np.zeros(10, int), ("Cu",))
        pairs = lists.allocate(atoms, geometry.heights(cell).min() / 2)
        assert pairs.spec.skin == 0.0 and not pairs.overflow


@pytest.mark.slow
@pytest.mark.parametrize(("count", "length"), ((300, 15.0), (900, 25.0)))
def test_inner_rows_hold_every_near_pair(count, length):
    atoms = random_atoms(count, length)
    cutoff, inner = 4.0, 2.5
    pairs = lists.allocate(atoms, cutoff, skin=0.6, inner=inner)
    rows = max(pairs.spec.near)
    assert 0 < rows < pairs.spec.capacity
    moved = sheared(atoms, 0.02)
    step = np.random.default_rng(1).normal(scale=0.05, size=(count, 3)) / length
    moved = moved.replace(fractional=moved.fractional + step)
    assert not lists.is_stale(pairs, moved), "the case should leave the list valid"
    near = listed_in(np.asarray(lists.table(pairs))[:rows])
    assert true_pairs(moved, inner) <= near
    assert true_pairs(moved, cutoff) <= listed(pairs)


def test_too_few_inner_rows_overflow():
    atoms = random_atoms(300, 15.0)
    pairs = lists.allocate(atoms, 4.0, skin=0.6, inner=2.5)
    assert not pairs.overflow
    assert lists.make(pairs.spec._replace(near=(4,)), atoms).overflow


@pytest.fixture
def ranked(monkeypatch):
    """Lists of few atoms in several tables, as those of many atoms are."""
    monkeypatch.setattr(lists, "_RANKED_FROM", 0)


@pytest.mark.slow
@pytest.mark.parametrize("inner", (None, 2.5))
def test_tables_by_number_of_neighbours_hold_every_pair(ranked, inner):
    # Dense in one half: the ranking has something to do.
    atoms = random_atoms(600, 20.0)
    atoms = atoms.replace(fractional=atoms.fractional ** jnp.array([1.0, 1.0, 1.7]))
    pairs = lists.allocate(atoms, 4.0, skin=0.5, slack=1.0, inner=inner)
    assert not pairs.overflow
    assert all(len(zone.blocks) > 1 for zone in pairs.zones)
    assert pairs.spec.near[0] < pairs.spec.near[-1]
    assert_within(listed(pairs), atoms, 4.5)
    values = jnp.arange(600.0)
    for zone in pairs.zones:
        parts = zone.split(values)
        assert [len(part) for part in parts] == [b.idx.shape[1] for b in zone.blocks]
        np.testing.assert_array_equal(zone.join(parts), values)


@pytest.mark.slow
@pytest.mark.parametrize("table", (0, 1))
def test_one_table_too_short_overflows(ranked, table):
    atoms = random_atoms(600, 20.0)
    pairs = lists.allocate(atoms, 4.0, skin=0.5)
    counts = np.sort(np.sum(np.asarray(lists.table(pairs)) < 600, axis=0))
    exact = [int(counts[round(0.7 * 600) - 1]), int(counts[-1])]
    assert not lists.make(pairs.spec._replace(near=tuple(exact)), atoms).overflow
    exact[table] -= 1
    assert lists.make(pairs.spec._replace(near=tuple(exact)), atoms).overflow


@pytest.mark.slow
def test_longer_lists_fit_all_structures():
    batch = [random_atoms(300, length) for length in (24.0, 16.0, 20.0)]
    short = lists.allocate(batch[0], 3.0, skin=0.4, slack=1.0, inner=2.0).spec
    found = lists.fitted(short, batch)
    assert len({one.spec for one in found}) == 1 and found[0].spec.capacity > short.capacity
    for one, atoms in zip(found, batch, strict=True):
        assert not one.overflow
        assert_within(listed(one), atoms, 3.0 + one.spec.skin)


@pytest.mark.slow
def test_a_batch_is_widened_without_those_that_fit_in_no_list():
    """A cell below twice the cut-off, and a structure whose lists the caller has given up."""
    batch = [random_atoms(300, length) for length in (24.0, 16.0, 5.0, 20.0)]
    short = lists.allocate(batch[0], 3.0, skin=0.4, slack=1.0, inner=2.0).spec

    def slack(place):
        if place == 3:
            raise lists.Clumped("given up")
        return 1.2

    found, refused = lists.widened(short, batch, [1, 2, 3], [0, 1, 2, 3], slack)
    assert {place: type(error) for place, error in refused.items()} == {
        2: lists.TooThin,
        3: lists.Clumped,
    }
    assert len({one.spec for one in found}) == 1 and found[0].spec.capacity > short.capacity
    for one, atoms in zip(found[:2], batch, strict=False):
        assert_within(listed(one), atoms, 3.0 + one.spec.skin)
    assert not any(bool(one.overflow) for one in found)


@pytest.mark.slow
def test_a_longer_shape_is_never_the_same():
    atoms = random_atoms(300, 16.0)
    spec = lists.allocate(atoms, 3.0, skin=0.4, slack=1.3).spec
    assert lists.longer(spec, atoms, slack=1.0).capacity > spec.capacity


def test_lists_that_need_not_fit_do_not_count():
    batch = [random_atoms(300, length) for length in (24.0, 16.0)]
    spec = lists.allocate(batch[0], 3.0, skin=0.4, slack=1.0).spec
    assert [one.spec for one in lists.fitted(spec, batch, needed=[0])] == [spec, spec]


def test_few_atoms():
    alone = Structure.create([[0.5, 0.5, 0.5]], 10.0 * np.eye(3), [0], ("Cu",))
    assert listed(lists.allocate(alone, 4.0)) == set()
    for gap, expected in ((0.3, {(0, 1), (1, 0)}), (0.5, set())):
        two = Structure.create([[0.9, 0, 0], [0.9 + gap, 0, 0]], 10.0 * np.eye(3), [0, 0], ("Cu",))
        assert listed(lists.allocate(two, 4.0, skin=0.0)) == expected


@pytest.mark.slow
def test_rebuild_under_vmap_is_one_by_one():
    batch = [random_atoms(300, 22.0, seed=seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batch)
    template = lists.allocate(batch[0], 3.2, skin=0.3, slack=2.0)
    together = jax.jit(jax.vmap(lambda s: lists.rebuild(template, s)))(stacked)
    assert not together.overflow.any()
    for k, atoms in enumerate(batch):
        pairs = jax.tree.map(lambda x, k=k: x[k], together)
        assert true_pairs(atoms, 3.2) <= listed(pairs)


def test_ensure_makes_a_list_only_when_there_is_none():
    atoms = random_atoms(120, 12.0)
    given_list = lists.allocate(atoms, 4.0)
    assert lists.ensure(given_list, atoms, 4.0) is given_list
    assert listed(lists.ensure(None, atoms, 4.0)) == true_pairs(atoms, 4.0)


@functools.cache
def _walk():
    """Start of the random walks, shared so that `update` compiles once."""
    atoms = random_atoms(200, 16.0, "orthogonal", seed=3)
    return atoms, lists.allocate(atoms, 3.0, skin=0.5, slack=2.5), jax.jit(lists.update)


steps = st.lists(
    st.tuples(
        st.integers(0, 2**31),
        st.floats(0.0, 0.4),
        st.tuples(*[st.floats(-0.06, 0.06)] * 6),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True)
@given(steps)
def test_no_pair_is_lost_on_a_random_walk(path):
    # Displacements and strains of all sizes, so that steps end on both sides of the rebuild.
    atoms, pairs, update = _walk()
    for seed, size, strain in path:
        gradient = np.eye(3)
        gradient[np.triu_indices(3)] += strain
        atoms = affine(atoms, gradient)
        direction = np.random.default_rng(seed).normal(size=(200, 3))
        direction *= size / np.linalg.norm(direction, axis=1).max()
        change = jnp.asarray(direction) @ jnp.linalg.inv(atoms.cell).T
        atoms = atoms.replace(fractional=geometry.wrap(atoms.fractional + change))
        pairs = update(pairs, atoms)
        if pairs.overflow:
            pairs = lists.allocate(atoms, 3.0, skin=0.5, slack=2.5)
        assert true_pairs(atoms, 3.0) <= listed(pairs)
