"""stzjax: where will a metallic glass yield first? Differentiable, batched, in JAX."""

# The other packages come with their modules below.
from stzjax import descriptors, io, neighbors, numerics, potentials
from stzjax.core import geometry, loads, structure, units
from stzjax.core.structure import Structure
from stzjax.dynamics import npt, nve, quench
from stzjax.evaluation import metrics
from stzjax.learning import graphs, losses, models, sensitivity, splits, training
from stzjax.mechanics import energetics, hessians, implicit, relax
from stzjax.shear import aqs, events, nonaffine
