"""Consequences of an energy at rest.

Energies, forces, virials and stress (`energetics`), second derivatives (`hessians`), relaxation to
a minimum (`relax`) and its derivatives (`implicit`). What moves in time belongs to `dynamics`.
"""

from stzjax.mechanics import energetics, hessians, implicit, relax

__all__ = ["energetics", "hessians", "implicit", "relax"]
