"""Relaxation as a differentiable function: the minimum moves with the cell and the potential.

With f(x*, θ) = 0 at the minimum, dx*/dθ = H⁻¹ ∂f/∂θ: no derivative of the minimiser's path is
taken, and none of its iterations are kept.
"""

import functools

import jax
import jax.numpy as jnp

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics, fire, hessians
from stzjax.mechanics.fire import RelaxConfig, Relaxed
from stzjax.mechanics.hessians import Tiling
from stzjax.neighbors.lists import Neighbors
from stzjax.numerics import conjugate_gradient
from stzjax.potentials.potential import Potential


def minimum(
    structure: Structure,
    potential: Potential,
    neighbors: Neighbors,
    tiling: Tiling,
    config: RelaxConfig | None = None,
) -> Relaxed:
    """Relax at fixed cell; differentiable in both modes, under `jit` and `vmap`.

    The relaxed positions depend on the cell and on the potential, not on the positions at the
    start: for a strain step deform the structure by F(γ) first and differentiate by γ. First
    derivatives only; their accuracy is limited by the force tolerance. The tiling is from
    `allocation.tiling`, with some slack for atoms that move.

    Returns:
      As `fire.minimise`; NOT_FINITE where the step that carries the derivative failed, and
      positions that are NaN wherever something did.
    """
    fixed, frozen, pairs = jax.lax.stop_gradient((structure, potential, neighbors))
    found = fire.minimise(fixed, frozen, pairs, config or RelaxConfig())
    hessian = hessians.assemble(found.structure, frozen, found.neighbors, tiling)
    here = structure.replace(fractional=found.structure.fractional)
    force = energetics.forces(here, potential, found.neighbors)

    product = functools.partial(hessians.apply, hessian)
    move = hessians.differentiable_solve(hessian, product, force[..., None])
    # A Newton step from the minimum goes nowhere but carries its derivative.
    change = move.fields[..., 0] @ geometry.inverse(structure.cell).T
    solved = move.outcome[0] == conjugate_gradient.CONVERGED
    good = solved & (found.outcome == fire.CONVERGED)
    fractional = jnp.where(good, here.fractional + change, jnp.nan)
    outcome = jnp.where(solved | (found.outcome != fire.CONVERGED), found.outcome, fire.NOT_FINITE)
    return found._replace(structure=here.replace(fractional=fractional), outcome=outcome)
