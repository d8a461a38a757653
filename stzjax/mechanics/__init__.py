"""Consequences of an energy at rest.

Energies, forces, virials and stress (`energetics`), second derivatives (`hessians`), relaxation to
a minimum on the host (`relax`) and in compiled code (`fire`), and its derivatives (`implicit`).
What moves in time belongs to `dynamics`.
"""

from stzjax.mechanics import energetics, fire, hessians, implicit, relax

__all__ = ["energetics", "fire", "hessians", "implicit", "relax"]
