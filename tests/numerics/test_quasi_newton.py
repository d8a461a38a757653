"""L-BFGS against the textbook recursion, and on springs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stzjax.numerics import quasi_newton

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
        move = two_loops(*recent, force) if moves else force / 15.0
        x = x + move
        later = -(matrix @ x)
        moves.append(move)
        changes.append(force - later)
        force, count = later, count + 1
    return count


def advance(memory, move, change, force, learn=True):
    fields = (jnp.asarray(x).reshape(ATOMS, 3) for x in (move, change, force))
    return quasi_newton.advance(memory, *fields, jnp.asarray(learn), jnp.ones(()))


def learn(memory, move, change):
    return advance(memory, move, change, np.zeros(3 * ATOMS))[0]


def direction(memory, force) -> np.ndarray:
    """What a memory says without learning anything."""
    nothing = np.zeros(3 * ATOMS)
    return np.asarray(advance(memory, nothing, nothing, force, False)[1]).reshape(-1)


def filled(size: int, moves, changes) -> quasi_newton.Memory:
    memory = quasi_newton.empty(size, ATOMS)
    for s, y in zip(moves, changes, strict=True):
        memory = learn(memory, s, y)
    return memory


@pytest.mark.slow
@pytest.mark.parametrize("number", (1, 3, 5, 8))
def test_the_textbook_recursion(number):
    """Also when the memory, of 5 places here, is not full or has gone round."""
    moves, changes = pairs(number)
    force = np.random.default_rng(9).normal(size=3 * ATOMS)
    expected = two_loops(moves[-5:], changes[-5:], force)
    # The fields are kept in float32.
    close = {"rtol": 0, "atol": 1e-5 * np.abs(expected).max()}
    np.testing.assert_allclose(direction(filled(5, moves, changes), force), expected, **close)
    before = filled(5, moves[:-1], changes[:-1])
    _, at_once = advance(before, moves[-1], changes[-1], force)
    np.testing.assert_allclose(np.asarray(at_once).reshape(-1), expected, **close)


def test_without_memory_it_is_steepest_descent():
    force = np.random.default_rng(0).normal(size=3 * ATOMS)
    found = direction(quasi_newton.empty(4, ATOMS), force)
    np.testing.assert_allclose(found, force / 15.0, rtol=1e-6)


def test_negative_curvature_is_not_remembered():
    moves, changes = pairs(3)
    memory = filled(4, moves, changes)
    same = learn(memory, moves[0], -moves[0])
    skipped, _ = advance(memory, moves[0], moves[0], moves[0], learn=False)
    for other in (same, skipped):
        for a, b in zip(jax.tree.leaves(memory), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_is_forgotten_has_no_influence():
    moves, changes = pairs(6)
    force = np.random.default_rng(1).normal(size=3 * ATOMS)
    cleared = quasi_newton.forget(filled(4, moves, changes), jnp.asarray(True))
    found = direction(cleared, force)
    np.testing.assert_allclose(found, force / 15.0, rtol=1e-6)
    again = direction(learn(cleared, moves[0], changes[0]), force)
    fresh = direction(filled(4, moves[:1], changes[:1]), force)
    np.testing.assert_allclose(again, fresh, rtol=1e-6, atol=1e-9)


def test_a_quadratic_is_minimised_and_a_kept_memory_helps():
    matrix = spring(3, spread=1000.0) / 50.0
    step = jax.jit(functools.partial(quasi_newton.advance, anchor=jnp.ones(())))

    def minimise(memory, x):
        force, move, change = -(matrix @ x), np.zeros(3 * ATOMS), np.zeros(3 * ATOMS)
        for count in range(200):
            if np.abs(force).max() < 1e-9:
                return count, memory
            fields = (jnp.asarray(v).reshape(ATOMS, 3) for v in (move, change, force))
            memory, move = step(memory, *fields, jnp.asarray(count > 0))
            move = np.asarray(move).reshape(-1)
            x = x + move
            later = -(matrix @ x)
            force, change = later, force - later
        raise AssertionError("not converged")

    start = np.random.default_rng(4).normal(size=3 * ATOMS)
    first, memory = minimise(quasi_newton.empty(20, ATOMS), start)
    assert first <= 1.2 * textbook(matrix, start)
    second, _ = minimise(memory, np.random.default_rng(5).normal(size=3 * ATOMS))
    assert second < first


@pytest.mark.slow
def test_batched_is_one_by_one():
    moves, changes = pairs(4)
    one, other = filled(5, moves, changes), filled(5, moves[:2], changes[:2])
    fields = np.random.default_rng(2).normal(size=(3, 2, ATOMS, 3))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), one, other)
    step = functools.partial(quasi_newton.advance, condition=jnp.asarray(True), anchor=jnp.ones(()))
    memories, both = jax.vmap(step)(stacked, *fields)
    for k, memory in enumerate((one, other)):
        alone, found = step(memory, *fields[:, k])
        np.testing.assert_allclose(both[k], found, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(memories.moves[k], alone.moves, rtol=1e-6)
