"""Consequences of an energy at rest.

Energies, forces, virials and stress (`energetics`), second derivatives by the positions
(`hessians`) and by strain (`strain`), all of them around one structure (`expansion`, which
`allocation` makes on the host), relaxation to a minimum on the host (`relax`) and in compiled code
(`fire`), and its derivatives (`implicit`). Motion in time belongs to `dynamics`.
"""

from stzjax.mechanics import energetics, expansion, hessians, implicit, relax
