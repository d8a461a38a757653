"""Linear response of a glass to strain: the non-affine velocity field -H⁻¹Ξ, and its D²min.

Under a strain the atoms of a disordered solid do not follow affinely: the forces -Ξ that an affine
strain brings up drive them along u = -H⁻¹Ξ. Soft spots show as large u before anything yields.

C. Maloney and A. Lemaître, Phys. Rev. E 74, 016118 (2006); A. Lemaître and C. Maloney,
J. Stat. Phys. 123, 415 (2006).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.descriptors import stiffness
from stzjax.descriptors.family import Family, Inputs
from stzjax.mechanics import expansion, hessians
from stzjax.mechanics.expansion import Expansion
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.numerics import conjugate_gradient
from stzjax.numerics.conjugate_gradient import Solution
from stzjax.shear import nonaffine


def respond(around: Expansion) -> Solution:
    """Response of a structure at hand, on the host; see `response`.

    Raises:
      ValueError: not a minimum, or the solver did not converge.
    """
    found = _jit_response(around)
    failed = np.flatnonzero(np.asarray(found.outcome) != conjugate_gradient.CONVERGED)
    if len(failed):
        place = int(failed[0])
        raise ValueError(
            f"no linear response to strain {place + 1} (Voigt): "
            f"{conjugate_gradient.OUTCOMES[int(found.outcome[place])]} after "
            f"{int(found.iterations[place])} iterations, residual "
            f"{float(found.residual[place]):.1e}; relax the structure, to a tighter force "
            "tolerance if it was relaxed already"
        )
    return found


def response(around: Expansion, tolerance: float = 1e-9) -> Solution:
    """Non-affine velocities under the six strains in Voigt order, see `loads.VOIGT`.

    For compiled code, under `vmap` too. It can be differentiated, in both modes, by positions, cell
    and potential: by the implicit function theorem.

    Args:
      around: expansion of N atoms at a minimum of the energy, with its Hessian.
      tolerance: limit of the norm of the residual, relative to that of Ξ.

    Returns:
      Displacements per unit strain beyond the affine displacement, without translation,
      (6, N, 3) [Å], engineering strain for the shears; NaN where the outcome is not converged.

    Raises:
      ValueError: an expansion without Hessian.
    """
    product = functools.partial(expansion.products, around)
    forces = expansion.affine_forces(around)
    found = hessians.differentiable_solve(around.operator(), product, forces, tolerance)
    return found._replace(fields=jnp.moveaxis(found.fields, -1, 0))


_jit_response = jax.jit(response)


def place(direction: str) -> int:
    """Number of the strain of a load in Voigt order, whatever its sign."""
    flow, gradient, _ = loads.axes(direction)
    return int(stiffness.PLACE[flow, gradient])


def local_d2min(
    structure: Structure, field: Array, neighbors: Neighbors, cutoff: float = 3.8
) -> Array:
    """D²min of a velocity field (N, 3) [Å], per strain squared, (N,) [Å²]; see `nonaffine.d2min`.

    The list must be valid at the cut-off [Å], within which bonds count.
    """
    bonds, mask = nonaffine.bonds(structure, neighbors, cutoff)
    neighbor = jnp.take(field.T, lists.table(neighbors), axis=1, mode="clip")
    relative = neighbor - field.T[:, None]
    return nonaffine.residual(bonds, bonds + relative, mask)


def _measure(inputs: Inputs) -> tuple[Array, Array]:
    """Relaxed stiffness (N, 3, 3, 3, 3) [eV/Å³]; D²min of each response (6, N) [Å²]."""
    around, fields = inputs.expansion, inputs.response
    assert fields is not None, "the family asks for the response"
    relaxed = stiffness.relaxed_stiffness(around, inputs.stiffness, inputs.volume, fields)

    def d2min(field: Array) -> Array:
        return local_d2min(around.structure, field, around.neighbors)

    return relaxed, jax.lax.map(d2min, fields)


def _project(values: tuple[Array, Array], direction: str) -> list[Array]:
    relaxed, d2min = values
    # The field of -xy is that of +xy turned round, and D²min does not see the sign.
    return [*stiffness.column_of_load(relaxed, direction), d2min[place(direction)]]


FAMILY = Family(
    "response",
    ("R14", "R24", "R34", "R44", "R54", "R64", "response_d2min"),
    _measure,
    _project,
    response=True,
)
"""Relaxed stiffness in the frame of the load [eV/Å³], and D²min of the linear response to the load
per strain squared [Å²]."""
