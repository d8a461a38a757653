"""Relaxation of one structure to a local minimum of its energy: the host's side of `fire`."""

import jax
import jax.numpy as jnp

from stzjax.core.structure import Structure
from stzjax.mechanics import energetics, fire, fire_of_jax_md
from stzjax.mechanics.fire import CONVERGED, OUTCOMES, RelaxConfig, Relaxed
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.potentials.potential import Potential

__all__ = ["CONVERGED", "OUTCOMES"]  # Handed on from `fire`.

_minimise = jax.jit(fire.minimise, static_argnames="config")

_SLACK = 1.3
"""Spare places of a list that is made longer."""


def relax(
    structure: Structure,
    potential: Potential,
    config: RelaxConfig | None = None,
    neighbors: Neighbors | None = None,
) -> Relaxed:
    """Relax one structure at fixed cell, with longer neighbour lists as often as one overflows.

    Returns:
      The last configuration with its outcome; look at `converged`.

    Raises:
      ValueError: the cell is smaller than twice the cut-off, or an element is unknown.
    """
    config = config or RelaxConfig()
    reference = config.engine == "jax_md"
    minimise = fire_of_jax_md.minimise if reference else _minimise
    if neighbors is None:
        length = potential.scales.length
        guard = fire_of_jax_md.GUARD * length if reference else 0.0
        reach = potential.cutoff + guard, potential.inner_cutoff + guard
        neighbors = lists.allocate(structure, reach[0], length, inner=reach[1])
    while True:
        result = minimise(structure, potential, neighbors, config)
        if int(result.outcome) != fire.OVERFLOW:
            return result
        structure = result.structure
        found, refused = lists.widened(neighbors.spec, [structure], [0], [0], lambda _: _SLACK)
        if refused:
            return result
        (neighbors,) = found


def relax_cell(
    structure: Structure,
    potential: Potential,
    config: RelaxConfig | None = None,
    stress_tolerance: float = 1e-6,
    max_rounds: int = 60,
    moduli: tuple[float, float] = (0.7, 0.16),
) -> Relaxed:
    """Relax positions and cell to zero stress; OUT_OF_ITERATIONS where more stress is left.

    Alternates `relax` at fixed cell with a strain that would cancel the stress of an isotropic
    solid of roughly the right moduli, or a share of it where that overshoots. The tolerance is for
    the largest component [eV/Å³]; the moduli, of bulk and shear, are a guess in units of the
    potential's scales on which only the speed depends.
    """
    bulk_modulus, shear_modulus = (potential.scales.stress * modulus for modulus in moduli)
    result = relax(structure, potential, config)
    share, last = 1.0, float("inf")
    for _ in range(max_rounds):
        stress = energetics.stress(result.structure, potential, result.neighbors)
        largest = float(jnp.max(jnp.abs(stress)))
        if not result.converged or largest <= stress_tolerance:
            return result
        # A solid stiffer than the guess overshoots: take a smaller share of the strain.
        share, last = share * (0.5 if largest > 0.7 * last else 1.0), largest
        mean = jnp.trace(stress) / 3.0
        shear = stress - mean * jnp.eye(3)
        # Upper triangular with the same symmetric part, so that the cell stays upper triangular.
        strain = -(mean / (3.0 * bulk_modulus) * jnp.eye(3) + shear / (2.0 * shear_modulus))
        strain = jnp.diag(jnp.diag(strain)) + 2.0 * jnp.triu(strain, 1)
        strained = result.structure.deform(jnp.eye(3) + jnp.clip(share * strain, -0.02, 0.02))
        result = relax(strained, potential, config)
    return result._replace(outcome=jnp.asarray(fire.OUT_OF_ITERATIONS))
