"""Limited-memory BFGS without line search, for minima that are already near.

D. C. Liu and J. Nocedal, Math. Program. 45, 503 (1989). The two-loop recursion runs on scalar
products that are kept, so an iteration costs a few products of the memory with a vector, as in
W. Chen, Z. Wang and J. Zhou, NIPS 27 (2014). The memory may outlive the minimisation: from one
small strain step to the next the Hessian hardly changes.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array


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
    products = jnp.zeros((size, size))
    return Memory(field, field, products, products, jnp.zeros((), jnp.int32))


def forget(memory: Memory, condition: Array) -> Memory:
    """Memory without its changes where a condition holds."""
    return memory.replace(
        move_change=jnp.where(condition, 0.0, memory.move_change),
        change_change=jnp.where(condition, 0.0, memory.change_change),
        used=jnp.where(condition, 0, memory.used),
    )


def remember(memory: Memory, move: Array, change: Array, condition: Array | bool = True) -> Memory:
    """Memory with one more change; one along which the curvature is not positive is left out.

    Args:
      memory: so far.
      move: (N, 3) displacement [Å].
      change: (N, 3) change of the gradient [eV/Å].
      condition: nothing is remembered where it does not hold.
    """
    place = memory.used % len(memory.moves)
    move, change = (x.reshape(-1).astype(jnp.float32) for x in (move, change))
    useful = condition & (jnp.sum(move * change) > 0.0)
    # One row is written either way, so that the fields are never copied as a whole.
    moves = memory.moves.at[place].set(jnp.where(useful, move, memory.moves[place]))
    changes = memory.changes.at[place].set(jnp.where(useful, change, memory.changes[place]))
    column, row, square = moves @ change, changes @ move, changes @ change
    move_change = memory.move_change.at[:, place].set(column).at[place].set(row)
    change_change = memory.change_change.at[:, place].set(square).at[place].set(square)
    return Memory(
        moves,
        changes,
        jnp.where(useful, move_change, memory.move_change),
        jnp.where(useful, change_change, memory.change_change),
        memory.used + useful,
    )


def direction(memory: Memory, force: Array, stiffness: float = 10.0) -> Array:
    """Newton-like displacement H⁻¹ F by the two-loop recursion, (N, 3) [Å].

    Args:
      memory: changes so far.
      force: (N, 3) [eV/Å].
      stiffness: curvature assumed where there is no memory [eV/Å²].
    """
    size = len(memory.moves)
    flat = force.reshape(-1).astype(jnp.float32)
    along, across = (
        (field @ flat).astype(memory.move_change.dtype) for field in (memory.moves, memory.changes)
    )
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
    gain, share = (x.astype(jnp.float32) for x in (gain, scale * share))
    step = gain @ memory.moves - share @ memory.changes
    return (scale * force.reshape(-1) + step).reshape(force.shape)
