"""Linear response of a glass to strain: the non-affine velocity field -H⁻¹Ξ, and its D²min.

Under a strain the atoms of a disordered solid do not follow affinely: the forces -Ξ that an affine
strain brings up drive them along u = -H⁻¹Ξ. Soft spots show as large u before anything yields.

C. Maloney and A. Lemaître, Phys. Rev. E 74, 016118 (2006); A. Lemaître and C. Maloney,
J. Stat. Phys. 123, 415 (2006).
"""

import functools
from typing import NamedTuple

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
from stzjax.shear import nonaffine

_TOLERANCE, _MAX_ITERATIONS = 1e-9, 20000


class Response(NamedTuple):
    """Non-affine velocities under the six strains in Voigt order, see `loads.VOIGT`.

    Attributes:
      fields: (6, N, 3) displacement per unit strain beyond the affine displacement, without
        translation [Å]; engineering strain for the shears.
      residual: (6,) relative residual of the linear solver.
      iterations: (6,) products with the Hessian.
      outcome: (6,) one of `conjugate_gradient.OUTCOMES`; where not converged the field is NaN.
    """

    fields: Array
    residual: Array
    iterations: Array
    outcome: Array


def respond(around: Expansion, tolerance: float = _TOLERANCE) -> Response:
    """Response of a structure at hand, on the host.

    Args:
      around: from `allocation.expand`, N atoms at a minimum of the energy.
      tolerance: limit of the norm of the residual, relative to that of Ξ.

    Raises:
      ValueError: not a minimum, or the solver did not converge.
    """
    found = _jit_response(around, tolerance)
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


def response(around: Expansion, tolerance: float = _TOLERANCE) -> Response:
    """Response for compiled code, under `vmap` too.

    It can be differentiated, in both modes, by positions, cell and potential: by the implicit
    function theorem, at the cost of one more solution for each derivative.

    Args:
      around: expansion of N atoms at a minimum of the energy, with its Hessian.
      tolerance: as in `respond`.

    Raises:
      ValueError: an expansion without Hessian.
    """
    hessian = around.operator()

    def solve(_, sides: Array):
        found = hessians.solve(hessian, sides, tolerance, _MAX_ITERATIONS)
        return found.fields, found._replace(fields=None)

    fields, info = jax.lax.custom_linear_solve(
        functools.partial(expansion.products, around),
        expansion.affine_forces(around),
        solve,
        symmetric=True,
        has_aux=True,
    )
    good = info.outcome == conjugate_gradient.CONVERGED
    fields = jnp.where(good, fields, jnp.nan)
    return Response(jnp.moveaxis(fields, -1, 0), info.residual, info.iterations, info.outcome)


_jit_response = jax.jit(response)


def to_direction(fields: Array, direction: str) -> Array:
    """The field of a load, (N, 3) [Å], from the six of a response; see `loads.DIRECTIONS`."""
    return loads.axes(direction)[2] * fields[place(direction)]


def place(direction: str) -> int:
    """Number of the strain of a load in Voigt order, whatever its sign."""
    flow, gradient, _ = loads.axes(direction)
    return [set(pair) for pair in loads.VOIGT].index({flow, gradient})


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
    return nonaffine.residual(bonds, bonds + relative, mask)


def _measure(inputs: Inputs) -> tuple[Array, Array]:
    """Relaxed stiffness (N, 3, 3, 3, 3) [eV/Å³]; D²min of each response (6, N) [Å²]."""
    around, fields = inputs.expansion, inputs.response
    assert fields is not None, "the family asks for the response"
    relaxed = stiffness.relaxed_stiffness(around, inputs.born, inputs.volume, fields)
    d2min = jax.lax.map(
        lambda field: local_d2min(around.structure, field, around.neighbors), fields
    )
    return relaxed, d2min


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
