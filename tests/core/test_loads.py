"""The six loads: deformation gradients, and rotations into the frame of the +yz load."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases

from stzjax.core import geometry, loads
from stzjax.mechanics import energetics
from stzjax.neighbors import lists

EXPECTED = {
    "+xy": (0, 1, 1.0),
    "+yz": (1, 2, 1.0),
    "+xz": (0, 2, 1.0),
    "-xy": (0, 1, -1.0),
    "-yz": (1, 2, -1.0),
    "-xz": (0, 2, -1.0),
}


def test_there_are_six_directions():
    assert set(loads.DIRECTIONS) == set(EXPECTED)
    assert len(loads.DIRECTIONS) == 6


@pytest.mark.parametrize("direction", loads.DIRECTIONS)
def test_a_direction_shears_along_its_first_axis(direction):
    flow, gradient, sign = EXPECTED[direction]
    assert loads.axes(direction) == EXPECTED[direction]
    position = np.array([1.0, 2.0, 4.0])
    moved = np.asarray(loads.deformation_gradient(direction, 0.1)) @ position
    expected = position.copy()
    expected[flow] += sign * 0.1 * position[gradient]
    np.testing.assert_allclose(moved, expected, rtol=1e-15)


@pytest.mark.parametrize("direction", loads.DIRECTIONS)
def test_the_load_keeps_the_volume_and_the_triangle(direction):
    gradient = np.asarray(loads.deformation_gradient(direction, 0.3))
    assert np.linalg.det(gradient) == pytest.approx(1.0)
    assert not np.any(np.tril(gradient, -1))
    slope = jax.jacfwd(lambda x: loads.deformation_gradient(direction, x))(0.2)
    np.testing.assert_array_equal(slope, loads.generator(direction))
    twice = np.asarray(loads.deformation_gradient(direction, 0.1)) @ gradient
    expected = loads.deformation_gradient(direction, 0.4)
    np.testing.assert_allclose(twice, expected, atol=1e-15)


@pytest.mark.parametrize("direction", loads.DIRECTIONS)
def test_the_rotation_is_proper_and_turns_the_load_to_yz(direction):
    turn = loads.rotation(direction)
    np.testing.assert_array_equal(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1.0)
    before = np.asarray(loads.deformation_gradient(direction, 0.07))
    after = np.asarray(loads.deformation_gradient("+yz", 0.07))
    np.testing.assert_allclose(turn @ before @ turn.T, after, atol=1e-16)
    if direction == "+yz":
        np.testing.assert_array_equal(turn, np.eye(3))


@functools.cache
def _toy():
    atoms, potential = cases.small(), cases.potential(cases.SMALL)
    return atoms, potential, lists.allocate(atoms, potential.cutoff, skin=0.1)


@pytest.mark.parametrize("direction", loads.DIRECTIONS)
def test_the_stress_along_the_load_becomes_yz(direction):
    # dE/dγ under the load is the component Voigt 4 in the turned frame.
    atoms, potential, pairs = _toy()

    def energy(strain):
        gradient = loads.deformation_gradient(direction, strain)
        return energetics.energy(atoms.deform(gradient), potential, pairs)

    slope = cases.derivative(energy, step=1e-4)
    virial = energetics.stress(atoms, potential, pairs) * geometry.volume(atoms.cell)
    turned = loads.rotate(virial[None], loads.rotation(direction))[0]
    assert loads.VOIGT[3] == (1, 2)
    assert float(turned[loads.VOIGT[3]]) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("rank", (1, 2, 3, 4))
def test_rotate_turns_every_axis(rank):
    rng = np.random.default_rng(rank)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    tensor = rng.normal(size=(5,) + (3,) * rank)
    expected = np.zeros_like(tensor)
    for target in itertools.product(range(3), repeat=rank):
        for source in itertools.product(range(3), repeat=rank):
            factor = np.prod([turn[t, s] for t, s in zip(target, source, strict=True)])
            expected[(slice(None), *target)] += factor * tensor[(slice(None), *source)]
    found = loads.rotate(jnp.asarray(tensor), turn)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_voigt_order():
    assert loads.VOIGT == ((0, 0), (1, 1), (2, 2), (1, 2), (2, 0), (0, 1))


@pytest.mark.parametrize("plain", ("xy", "yz", "xz"))
def test_the_sign_may_be_left_out(plain):
    assert loads.canonical(plain) == f"+{plain}"
    assert loads.canonical(f"-{plain}") == f"-{plain}"


@pytest.mark.parametrize("wrong", ("", "+", "yx", "xx", "zx", "+-xy", "xyz", "XY", "--xy", "~xy"))
def test_an_unknown_direction_is_named_with_the_choices(wrong):
    for function in (loads.canonical, loads.rotation, loads.generator):
        with pytest.raises(ValueError, match=r"choose from \+xy, \+yz, \+xz, -xy, -yz, -xz") as e:
            function(wrong)
        assert repr(wrong) in str(e.value)
