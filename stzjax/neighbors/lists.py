"""Neighbour lists on the host: how many places they need, and more where those do not do.

A list has a static shape, its `Spec`, which is found here for concrete atoms; its content is found
in compiled code (`tables`). A list whose shape is too small says so, and is given a longer one.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.neighbors import search
from stzjax.neighbors.search import FAR, NEAR, Grid
from stzjax.neighbors.tables import (
    SHARES,
    Neighbors,
    Spec,
    ends,
    is_stale,
    make,
    rebuild,
    same_species,
    table,
    too_thin,
    update,
)

__all__ = ["is_stale", "rebuild", "same_species", "table", "update"]  # Handed on from `tables`.

_WORD = 32
"""Bits of a word of the search."""

_RANKED_FROM = 2000
"""Fewer atoms share one table: there the passes over short tables cost more than empty places."""

_ROOM = 0.02
"""Length a cell may shrink by before a skin shortened for it must be shortened again [Å]."""

_LONGER, _LOOSEST = 1.05, 4.0
"""Factor by which the spare places grow at a time, and the largest factor of spare places."""


TABLES, HALF, BOTH = "tables", "half", "both"
"""Forms of a list: each pair twice, in the tables of its atoms; each pair once; both."""


class TooThin(ValueError):
    """The cell is smaller than twice the cut-off."""


class Clumped(ValueError):
    """No list is long enough."""


def allocate(
    structure: Structure,
    cutoff: float,
    skin: float = 1.0,
    slack: float = 1.15,
    inner: float | None = None,
    form: str = TABLES,
) -> Neighbors:
    """Make a list for one structure, on the host.

    Args:
      structure: N atoms; the distances between its cell faces must be twice the cut-off.
      cutoff: [Å].
      skin: extra distance [Å]; shortened where the cell is too small for it.
      slack: factor of spare places per atom.
      inner: shorter cut-off whose pairs come first [Å]; such as that of the potential's densities.
      form: TABLES, HALF, or BOTH; half lists are for `Potential.half_lists`.

    Raises:
      TooThin: the cell is smaller than twice the cut-off.
    """
    if not 0.0 < cutoff < math.inf:
        raise ValueError(f"the cut-off of a potential must be a positive length, got {cutoff}")
    heights = geometry.heights(structure.cell)
    if not heights.min() >= 2.0 * cutoff:
        raise TooThin(
            f"the cell is {heights.min():.2f} Å across at its thinnest, less than twice the "
            f"cut-off {cutoff:.2f} Å; use more atoms or replicate the structure"
        )
    spare = float(heights.min()) / 2.0 - cutoff
    # Coarse steps, so that a shrinking cell does not recompile its loop for every thousandth, and
    # room for the next step of its dynamics.
    coarse, fine = math.floor(10.0 * (spare - _ROOM)) / 10.0, math.floor(1e3 * spare) / 1e3
    skin = min(skin, coarse if coarse > 0.0 else fine)
    inner = cutoff if inner is None else min(inner, cutoff)
    grid = _divide(structure, cutoff + skin, heights, slack)
    near, far, half = _places(structure, grid, inner + skin, cutoff + skin, slack)
    if form == HALF:
        near = far = ()
    elif inner == cutoff:
        far = ()  # All pairs are near.
    half = 0 if form == TABLES else half
    return make(Spec(float(cutoff), float(inner), skin, near, far, grid, half), structure)


def _places(
    structure: Structure, grid: Grid, near: float, far: float, slack: float
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Rows of the tables for pairs within `near` and between `near` and `far` [Å]; all pairs."""
    num_atoms = structure.num_atoms
    wrapped = geometry.wrap(structure.fractional)
    zone = _jit_zones(structure.cell, _jit_runs(wrapped, grid), grid, near, far)
    num_tables = len(SHARES) if num_atoms >= _RANKED_FROM else 1
    last = np.array(ends(num_atoms, num_tables)) - 1
    # Coarse steps, so that lists of like structures share one shape and one compiled loop.
    step = 8 if num_tables == 1 else 4
    most = _round_up(max(num_atoms - 1, 1), step)

    def rows(kind: int) -> tuple[int, ...]:
        counts = np.sort(np.asarray(jnp.sum(zone == kind, axis=(1, 2))))
        return tuple(min(_round_up(max(int(n), 1) * slack, step), most) for n in counts[last])

    pairs = int(jnp.sum(zone > 0)) // 2
    return rows(NEAR), rows(FAR), _round_up(max(pairs, 1) * slack, 2 * num_atoms)


def form_of(spec: Spec) -> str:
    """Form of the lists of a shape: TABLES, HALF or BOTH."""
    if not spec.half:
        return TABLES
    return BOTH if spec.near else HALF


def suited(spec: Spec, structure: Structure, form: str) -> Spec:
    """The shape itself if it is of a form, else one of that form for a structure, on the host."""
    if form_of(spec) == form:
        return spec
    return allocate(structure, spec.cutoff, spec.skin, inner=spec.inner, form=form).spec


def longer(spec: Spec, structure: Structure, slack: float = 1.1) -> Spec:
    """A shape with more places than one that was too small, enough for a structure, on the host.

    Raises:
      Clumped: there is none.
      TooThin: the cell is too small.
    """
    while slack <= _LOOSEST:
        shape = spec.cutoff, spec.skin, slack
        larger = _larger(spec, allocate(structure, *shape, spec.inner, form_of(spec)).spec)
        # Another grid alone is no progress, for it may have less room, unless it is the old grid
        # that the cell has become too thin for.
        thin = larger != spec and bool(too_thin(structure.cell, spec))
        if thin or larger._replace(grid=spec.grid) != spec:
            return larger
        slack *= _LONGER
    raise Clumped("the neighbour lists overflow at any length: the atoms clump")


def fitted(
    spec: Spec, configurations: Sequence[Structure], needed: Sequence[int] | None = None
) -> list[Neighbors]:
    """Lists of one shape for structures of one size, on the host; none of them overflows.

    Args:
      spec: shape to begin with; a larger one is taken if it is too small.
      configurations: B structures.
      needed: numbers of the structures whose lists must not overflow; all by default.

    Raises:
      Clumped: no list is long enough.
      TooThin: a cell is too small.
    """
    needed = range(len(configurations)) if needed is None else needed
    while True:
        found = [make(spec, one) for one in configurations]
        short = [place for place in needed if bool(found[place].overflow)]
        if not short:
            return [one.replace(overflow=jnp.zeros((), bool)) for one in found]
        spec = longer(spec, configurations[short[0]])


def widened(
    spec: Spec,
    configurations: Sequence[Structure],
    short: Sequence[int],
    going: Sequence[int],
    slack: Callable[[int], float] = lambda place: 1.1,
) -> tuple[list[Neighbors], dict[int, ValueError]]:
    """Lists of one longer shape for a batch in which the lists of some were too short, on the host.

    Args:
      spec: shape that was too small.
      configurations: B structures of one size.
      short: numbers of those whose lists were too short.
      going: numbers of those whose lists must not be short again; `short` is among them.
      slack: factor of spare places for the structure of a number; raises TooThin or Clumped where
        no list is to be tried.

    Returns:
      The lists, and for each structure of `short` that fits in none the reason, TooThin or Clumped.
    """
    refused: dict[int, ValueError] = {}
    for place in short:
        try:
            longest = longer(spec, configurations[place], slack(place))
            spec = fitted(longest, [configurations[place]])[0].spec
        except (TooThin, Clumped) as error:
            refused[place] = error
    return fitted(spec, configurations, [n for n in going if n not in refused]), refused


def _larger(old: Spec, new: Spec) -> Spec:
    """The new shape with as many places as the old one had, so that what did fit still does."""
    near, far = (tuple(map(max, *rows)) for rows in ((old.near, new.near), (old.far, new.far)))
    alike = old.grid._replace(words=0, width=0) == new.grid._replace(words=0, width=0)
    grid = max(old.grid, new.grid, key=lambda g: g.words * g.width) if alike else new.grid
    return new._replace(near=near, far=far, grid=grid, half=max(old.half, new.half))


def _round_up(count: float, multiple: int) -> int:
    return multiple * math.ceil(count / multiple)


def _divide(structure: Structure, distance: float, heights: np.ndarray, slack: float) -> Grid:
    """The division of the cell that leaves the fewest candidates, from the occupancy found."""

    def grid(across: int, along: int) -> Grid:
        reaches = across, across, along
        sides = (_side(*side, distance) for side in zip(heights, reaches, strict=True))
        cells, reach = zip(*sides, strict=True)
        longest = _longest_run(structure, cells, reach)
        room = min(_round_up(longest * slack, 4), _round_up(structure.num_atoms, 4))
        words = math.ceil(room / _WORD)
        return Grid(cells, reach, words, math.ceil(room / words))

    grids = itertools.starmap(grid, itertools.product((1, 2, 3), repeat=2))
    return min(grids, key=lambda g: len(g.columns) * (g.words * g.width + 8))


def _side(height: float, reach: int, distance: float) -> tuple[int, int]:
    """Cells along one cell vector and how many to look into; no division if that is nearly all."""
    # A little spare, so that a cell that shrinks or shears a little keeps its grid.
    cells = int(0.97 * reach * height / (distance + search.MARGIN))
    return (cells, reach) if cells > 2 * reach + 1 else (1, 0)


def _longest_run(structure: Structure, cells, reach) -> int:
    """Most atoms in the stretch of a column that one atom looks at."""
    # A position that is not finite shows in the forces, whatever its neighbours.
    finite = np.nan_to_num(geometry.wrap(np.asarray(structure.fractional)))
    at = np.floor(finite * cells).astype(int)
    counts = np.zeros(cells, int)
    np.add.at(counts, tuple(np.minimum(at, np.array(cells) - 1).T), 1)
    runs = sum(np.roll(counts, shift, axis=2) for shift in range(-reach[2], reach[2] + 1))
    return int(np.max(runs))


_jit_zones = jax.jit(search.zones, static_argnames=("grid", "near", "far"))
_jit_runs = jax.jit(search.runs, static_argnames="grid")


def ensure(neighbors: Neighbors | None, structure: Structure, cutoff: float) -> Neighbors:
    """The given list, or one made on the spot for concrete arrays.

    Raises:
      ValueError: no list was given where the arrays are being traced, or one of other species.
    """
    if neighbors is None and _traced(structure.fractional, structure.cell):
        raise ValueError(
            "under jit, grad or vmap pass a neighbour list: "
            "neighbors = stzjax.neighbors.allocate(structure, potential.cutoff)"
        )
    if neighbors is None:
        return allocate(structure, cutoff, skin=0.0)
    # On the host, for what is known may yet be called while something else is being traced.
    made_for, species = neighbors.species, structure.species
    if not _traced(made_for, species) and not np.array_equal(made_for, species):
        raise ValueError(
            "the neighbour list was made for atoms of other species: bring it up to date by "
            "neighbors = stzjax.neighbors.update(neighbors, structure)"
        )
    return neighbors


def _traced(*arrays: jax.Array) -> bool:
    return any(isinstance(x, jax.core.Tracer) for x in arrays)
