"""An embedded-atom potential of which only the energies are known: its general forms."""

import jax

from stzjax.potentials import EAM, Bonds, Potential


class General(Potential):
    """A potential that keeps its fast paths to itself."""

    base: EAM

    def energies(self, bonds: Bonds) -> jax.Array:
        """Energies of the atoms, (N,)."""
        return self.base.energies(bonds)


def general(base: EAM) -> General:
    """The same potential without fast paths."""
    kept = {"masses": base.masses, "scales": base.scales}
    return General(elements=base.elements, cutoff=base.cutoff, base=base, **kept)
