"""L-BFGS against the textbook recursion in NumPy loops, and on quadratic functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stzjax import lbfgs

ATOMS = 7


def spring(seed: int, spread: float = 100.0) -> np.ndarray:
    """A positive definite matrix with eigenvalues from 1 to `spread` [eV/Å²]."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(3 * ATOMS, 3 * ATOMS)))
    return basis @ np.diag(np.geomspace(1.0, spread, 3 * ATOMS)) @ basis.T


def pairs(number: int, seed: int = 0):
    """Displacements and the changes of gradient that a spring gives them."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(size=(number, 3 * ATOMS))
    return moves, moves @ spring(seed)


def two_loops(moves, changes, force) -> np.ndarray:
    """Nocedal and Wright, Numerical Optimization, algorithm 7.4."""
    q, shares = force.copy(), []
    for s, y in zip(moves[::-1], changes[::-1], strict=True):
        shares.append(s @ q / (s @ y))
        q -= shares[-1] * y
    r = q * (moves[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for s, y, share in zip(moves, changes, shares[::-1], strict=True):
        r += s * (share - y @ r / (s @ y))
    return r


def textbook(matrix, x, size: int = 20) -> int:
    """Iterations of the textbook's L-BFGS with unit steps, to 1e-9 eV/Å."""
    moves, changes, force, count = [], [], -(matrix @ x), 0
    while np.abs(force).max() >= 1e-9:
        recent = [np.array(rows[-size:]) for rows in (moves, changes)]
        move = two_loops(*recent, force) if moves else force / 10.0
        x = x + move
        later = -(matrix @ x)
        moves.append(move)
        changes.append(force - later)
        force, count = later, count + 1
    return count


def filled(size: int, moves, changes) -> lbfgs.Memory:
    memory = lbfgs.empty(size, ATOMS)
    for s, y in zip(moves, changes, strict=True):
        memory = lbfgs.remember(memory, s.reshape(-1, 3), y.reshape(-1, 3))
    return memory


@pytest.mark.parametrize("number", (1, 3, 5, 8))
def test_the_textbook_recursion(number):
    """Also when the memory, of 5 places here, is not full or has gone round."""
    moves, changes = pairs(number)
    force = np.random.default_rng(9).normal(size=3 * ATOMS)
    memory = filled(5, moves, changes)
    found = np.asarray(lbfgs.direction(memory, jnp.asarray(force.reshape(-1, 3)))).reshape(-1)
    expected = two_loops(moves[-5:], changes[-5:], force)
    # The fields are kept in float32.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_without_memory_it_is_steepest_descent():
    force = np.random.default_rng(0).normal(size=(ATOMS, 3))
    found = lbfgs.direction(lbfgs.empty(4, ATOMS), jnp.asarray(force), stiffness=8.0)
    np.testing.assert_allclose(found, force / 8.0, rtol=1e-6)


def test_negative_curvature_is_not_remembered():
    moves, changes = pairs(3)
    memory = filled(4, moves, changes)
    move = jnp.asarray(moves[0].reshape(-1, 3))
    same = lbfgs.remember(memory, move, -move)
    skipped = lbfgs.remember(memory, move, move, False)
    for other in (same, skipped):
        for a, b in zip(jax.tree.leaves(memory), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_is_forgotten_has_no_influence():
    moves, changes = pairs(6)
    force = jnp.asarray(np.random.default_rng(1).normal(size=(ATOMS, 3)))
    cleared = lbfgs.forget(filled(4, moves, changes), jnp.asarray(True))
    np.testing.assert_allclose(lbfgs.direction(cleared, force), force / 10.0, rtol=1e-6)
    move, change = (jnp.asarray(x[0].reshape(-1, 3)) for x in (moves, changes))
    again = lbfgs.direction(lbfgs.remember(cleared, move, change), force)
    fresh = lbfgs.direction(filled(4, moves[:1], changes[:1]), force)
    np.testing.assert_allclose(again, fresh, rtol=1e-6, atol=1e-9)


def test_a_quadratic_is_minimised_and_a_kept_memory_helps():
    matrix = spring(3, spread=1000.0)
    step = jax.jit(lambda m, f: lbfgs.direction(m, f))
    learn = jax.jit(lbfgs.remember)

    def minimise(memory, x):
        force = -(matrix @ x)
        for count in range(200):
            if np.abs(force).max() < 1e-9:
                return count, memory
            move = np.asarray(step(memory, jnp.asarray(force.reshape(-1, 3)))).reshape(-1)
            x = x + move
            later = -(matrix @ x)
            memory = learn(memory, move.reshape(-1, 3), (force - later).reshape(-1, 3))
            force = later
        raise AssertionError("not converged")

    start = np.random.default_rng(4).normal(size=3 * ATOMS)
    first, memory = minimise(lbfgs.empty(20, ATOMS), start)
    assert first <= 1.2 * textbook(matrix, start)
    second, _ = minimise(memory, np.random.default_rng(5).normal(size=3 * ATOMS))
    assert second < first


def test_batched_is_one_by_one():
    moves, changes = pairs(4)
    one, other = filled(5, moves, changes), filled(5, moves[:2], changes[:2])
    force = jnp.asarray(np.random.default_rng(2).normal(size=(2, ATOMS, 3)))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), one, other)
    both = jax.vmap(lbfgs.direction)(stacked, force)
    for k, memory in enumerate((one, other)):
        np.testing.assert_allclose(both[k], lbfgs.direction(memory, force[k]), rtol=1e-5, atol=1e-7)
