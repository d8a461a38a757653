"""Linear response of a glass to strain: the non-affine velocity field -H⁻¹Ξ, and its D²min.

Under a strain the atoms of a disordered solid do not follow affinely: the forces -Ξ that an affine
strain brings up drive them along u = -H⁻¹Ξ. Soft spots show as large u before anything yields.

C. Maloney and A. Lemaître, Phys. Rev. E 74, 016118 (2006); A. Lemaître and C. Maloney,
J. Stat. Phys. 123, 415 (2006).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics, hessians
from stzjax.mechanics.hessians import Tiling
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.numerics import conjugate_gradient
from stzjax.potentials.eam import EAM
from stzjax.shear import nonaffine

_TOLERANCE, _MAX_ITERATIONS = 1e-9, 20000


class Response(NamedTuple):
    """Non-affine velocities under the six strains in Voigt order, see `loading.VOIGT`.

    Attributes:
      fields: (6, N, 3) displacement per unit strain on top of the affine one, without translation
        [Å]; engineering strain for the shears.
      residual: (6,) relative residual of the linear solver.
      iterations: (6,) products with the Hessian.
      outcome: (6,) one of `conjugate.OUTCOMES`; where not converged the field is NaN.
    """

    fields: Array
    residual: Array
    iterations: Array
    outcome: Array


def respond(
    structure: Structure,
    potential: EAM,
    neighbors: Neighbors | None = None,
    tolerance: float = _TOLERANCE,
) -> Response:
    """Response of one structure, on the host.

    Args:
      structure: N atoms at a minimum of the energy; concrete arrays.
      potential: an embedded-atom potential.
      neighbors: as in `energetics.energy`.
      tolerance: of the norm of the residual, relative to that of Ξ.

    Raises:
      ValueError: not a minimum, or the solver did not converge.
    """
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    tiling = hessians.tiling(structure, neighbors)
    found = _jit_response(structure, potential, neighbors, tiling, tolerance)
    check(found)
    return found


def check(response: Response) -> None:
    """Refuse a response that failed, on the host.

    Raises:
      ValueError: with the outcome and the strain.
    """
    failed = np.flatnonzero(np.asarray(response.outcome) != conjugate_gradient.CONVERGED)
    if len(failed):
        place = int(failed[0])
        raise ValueError(
            f"no linear response to strain {place + 1} (Voigt): "
            f"{conjugate_gradient.OUTCOMES[int(response.outcome[place])]} after "
            f"{int(response.iterations[place])} iterations, residual "
            f"{float(response.residual[place]):.1e}; relax the structure, to a tighter force "
            "tolerance if it was relaxed already"
        )


def response(
    structure: Structure,
    potential: EAM,
    neighbors: Neighbors,
    tiling: Tiling,
    tolerance: float = _TOLERANCE,
) -> Response:
    """Response for compiled code, under `vmap` too.

    It can be differentiated, in both modes, by positions, cell and potential: by the implicit
    function theorem, at the cost of one more solution for each derivative.

    Args:
      structure: N atoms at a minimum of the energy.
      potential: an embedded-atom potential.
      neighbors: a valid list.
      tiling: from `hessians.tiling`.
      tolerance: as in `respond`.
    """
    hessian = hessians.assemble(*jax.lax.stop_gradient((structure, potential)), neighbors, tiling)

    def product(fields: Array) -> Array:
        one = jax.vmap(
            lambda u: energetics.hessian_vector_product(structure, potential, u, neighbors),
            in_axes=2,
            out_axes=2,
        )
        return one(fields)

    def solve(_, sides: Array):
        found = hessians.solve(hessian, sides, tolerance, _MAX_ITERATIONS)
        return found.fields, found._replace(fields=None)

    fields, info = jax.lax.custom_linear_solve(
        product, affine_forces(structure, potential, neighbors), solve, symmetric=True, has_aux=True
    )
    good = info.outcome == conjugate_gradient.CONVERGED
    fields = jnp.where(good, fields, jnp.nan)
    return Response(jnp.moveaxis(fields, -1, 0), info.residual, info.iterations, info.outcome)


_jit_response = jax.jit(response, static_argnames="tiling")


def affine_forces(structure: Structure, potential: EAM, neighbors: Neighbors) -> Array:
    """-Ξ: change of the forces per unit affine strain, (N, 3, 6) [eV/Å], in Voigt order."""
    # At a minimum a simple shear and the symmetric one differ by a rotation, which brings no force.
    # The simple one keeps the cell upper triangular.
    generators = np.zeros((6, 3, 3))
    for place, (a, b) in enumerate(loads.VOIGT):
        generators[place, min(a, b), max(a, b)] = 1.0

    def along(generator: Array) -> Array:
        return jax.jvp(
            lambda cell: energetics.forces(structure.replace(cell=cell), potential, neighbors),
            (structure.cell,),
            (generator @ structure.cell,),
        )[1]

    return jnp.moveaxis(jax.lax.map(along, jnp.asarray(generators)), 0, -1)


def to_direction(fields: Array, direction: str) -> Array:
    """The field of a load, (N, 3) [Å], from the six of a response; see `loading.DIRECTIONS`."""
    return loads.axes(direction)[2] * fields[place(direction)]


def place(direction: str) -> int:
    """Number of the strain of a load in Voigt order, whatever its sign."""
    flow, gradient, _ = loads.axes(direction)
    return [set(pair) for pair in loads.VOIGT].index({flow, gradient})


def to_strain(fields: Array, strain: Array) -> Array:
    """The field of a symmetric strain tensor (3, 3), (N, 3) [Å], from the six of a response."""
    first, second = np.array(loads.VOIGT).T
    factor = np.where(first == second, 1.0, 2.0)
    return jnp.tensordot(factor * jnp.asarray(strain)[first, second], fields, 1)


def local_d2min(
    structure: Structure, field: Array, neighbors: Neighbors, cutoff: float = 3.8
) -> Array:
    """D²min of a velocity field per unit strain squared, (N,) [Å²].

    The sum over bonds of what the best local affine map leaves unexplained; see `nonaffine.d2min`.

    Args:
      structure: N atoms.
      field: (N, 3) [Å] per unit strain.
      neighbors: a list that is valid at the cut-off.
      cutoff: bonds that count [Å].
    """
    idx = lists.table(neighbors)
    bonds = structure.bonds(idx)
    relative = jnp.take(field.T, idx, axis=1, mode="clip") - field.T[:, None]
    inside = jnp.sum(bonds * bonds, axis=0) < cutoff * cutoff
    mask = inside & (idx < structure.num_atoms)
    return nonaffine.fit(bonds, bonds + relative, mask)[1]
