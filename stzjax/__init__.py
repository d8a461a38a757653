"""stzjax: where will a metallic glass yield first? Differentiable, batched, in JAX."""

from stzjax import energetics, io, loading, neighbors, potentials, structure, units

__all__ = ["energetics", "io", "loading", "neighbors", "potentials", "structure", "units"]
