"""Limited-memory BFGS without line search, for starts near a minimum.

D. C. Liu and J. Nocedal, Math. Program. 45, 503 (1989). It runs on scalar products that are kept,
so an iteration costs a few products of the memory with a vector, as in W. Chen, Z. Wang and
J. Zhou, NIPS 27 (2014). The memory may outlive the minimisation: from one small strain step to the
next the Hessian hardly changes.
"""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from stzjax.numerics.unfused import apart


class Memory(flax.struct.PyTreeNode):
    """The last changes of positions and gradient: a ring of m places, 3N coordinates.

    Attributes:
      moves: (m, 3N) displacements s [Å], float32.
      changes: (m, 3N) changes of the gradient y [eV/Å], float32.
      move_change: (m, m) products s_i·y_j [eV].
      change_change: (m, m) products y_i·y_j [eV²/Å²].
      used: changes remembered so far; the next goes to place used mod m.
    """

    moves: Array
    changes: Array
    move_change: Array
    change_change: Array
    used: Array


def empty(size: int, num_atoms: int) -> Memory:
    """No memory yet, with room for `size` changes."""
    field = jnp.zeros((size, 3 * num_atoms), jnp.float32)
    products = jnp.zeros((size, size), jnp.float64)
    return Memory(field, field, products, products, jnp.zeros((), jnp.int32))


def forget(memory: Memory, condition: Array) -> Memory:
    """Memory without its changes where a condition holds."""
    return memory.replace(
        move_change=jnp.where(condition, 0.0, memory.move_change),
        change_change=jnp.where(condition, 0.0, memory.change_change),
        used=jnp.where(condition, 0, memory.used),
    )


def advance(
    memory: Memory,
    move: Array,
    change: Array,
    force: Array,
    condition: Array,
    anchor: Any,
    stiffness: float = 15.0,
) -> tuple[Memory, Array]:
    """Learn from the last move; the memory and the next displacement, (N, 3) [Å].

    A move along which the curvature is not positive teaches nothing.

    Args:
      memory: memory of the moves before.
      move: (N, 3) last displacement [Å].
      change: (N, 3) change of the gradient that it made [eV/Å].
      force: (N, 3) now [eV/Å].
      condition: scalar bool; where it is False nothing is learnt.
      anchor: see `unfused.apart`.
      stiffness: curvature assumed along what is not remembered [eV/Å²].
    """
    place = memory.used % len(memory.moves)
    move, change, flat = (x.reshape(-1).astype(jnp.float32) for x in (move, change, force))
    # The fields are read as they were, and apart, before the new rows are written: else XLA's CPU
    # backend copies them several times.
    fields = memory.moves, memory.changes
    mixed, squares, forces, new = apart(_products, anchor, *fields, move, change, flat)
    useful = condition & (new[0] > 0.0)
    told = memory.replace(
        move_change=_cross(memory.move_change, place, mixed, new[0], useful),
        change_change=_cross(memory.change_change, place, squares, new[1], useful),
        used=memory.used + useful,
    )
    along, across = (
        rows.at[place].set(jnp.where(useful, own, rows[place]))
        for rows, own in zip(forces, new[2:], strict=True)
    )
    gain, share, scale = _lbfgs(told, along, across, stiffness)
    combine = functools.partial(_combine, place=place)
    step, kept = apart(combine, anchor, memory, gain, share, useful, move, change, flat)
    moves, changes = (x.at[place].set(row) for x, row in zip(fields, kept, strict=True))
    step = (scale * force.reshape(-1) + step).reshape(force.shape)
    return told.replace(moves=moves, changes=changes), step


def _products(moves, changes, move, change, flat):
    """Products with all rows and those of the new vectors, in float64.

    Returns:
      The new column and row of s·y, then of y·y; s·F and y·F of the rows; (m,) each. Last s·y, y·y,
      s·F and y·F of the new move, (4,).
    """
    column, along = (moves @ jnp.stack([change, flat], axis=1)).T.astype(jnp.float64)
    vectors = jnp.stack([move, change, flat], axis=1)
    row, square, across = (changes @ vectors).T.astype(jnp.float64)
    new = jnp.stack([move @ change, change @ change, move @ flat, change @ flat])
    return (column, row), (square, square), (along, across), new.astype(jnp.float64)


def _cross(matrix: Array, place: Array, lines: tuple[Array, Array], own: Array, useful: Array):
    """The matrix with a new column and row."""
    crossed = matrix.at[:, place].set(lines[0]).at[place].set(lines[1]).at[place, place].set(own)
    return jnp.where(useful, crossed, matrix)


def _combine(memory: Memory, gain, share, useful, move, change, flat, place):
    """Contribution of the rows to the move, and the rows to write in the place of the new ones."""
    gain, share = (x.astype(jnp.float32) for x in (gain, share))
    others = jnp.arange(len(gain)) != place
    rows = memory.moves[place], memory.changes[place]
    kept = jnp.where(useful, move, rows[0]), jnp.where(useful, change, rows[1])
    step = (
        jnp.where(others, gain, 0.0) @ memory.moves - jnp.where(others, share, 0.0) @ memory.changes
    )
    return step + gain[place] * kept[0] - share[place] * kept[1], kept


def _lbfgs(
    memory: Memory, along: Array, across: Array, stiffness: float
) -> tuple[Array, Array, Array]:
    """The two-loop recursion: gain, share and scale of the move scale F + Σ gain s - Σ share y."""
    size = len(memory.moves)
    curvature = jnp.diagonal(memory.move_change)
    known = curvature > 0.0
    factor = jnp.where(known, 1.0 / jnp.where(known, curvature, 1.0), 0.0)
    # Oldest first: the ring turned so that the place to be overwritten next comes first.
    age = (memory.used + jnp.arange(size)) % size

    def down(share, place):
        rest = along[place] - jnp.sum(share * memory.move_change[place])
        return share.at[place].set(factor[place] * rest), None

    share, _ = jax.lax.scan(down, jnp.zeros(size, along.dtype), age, reverse=True)
    last = age[-1]
    square = memory.change_change[last, last]
    scale = jnp.where(known[last], curvature[last] / jnp.where(square > 0, square, 1.0), 0.0)
    scale = jnp.where(known[last], scale, 1.0 / stiffness)
    rest = scale * (across - memory.change_change @ share)

    def up(gain, place):
        found = factor[place] * (rest[place] + jnp.sum(gain * memory.move_change[:, place]))
        return gain.at[place].set(share[place] - found), None

    gain, _ = jax.lax.scan(up, jnp.zeros(size, along.dtype), age)
    return gain, scale * share, scale
