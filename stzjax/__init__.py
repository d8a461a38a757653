"""stzjax: where will a metallic glass yield first? Differentiable, batched, in JAX."""

from stzjax import (
    core,
    descriptors,
    dynamics,
    evaluation,
    io,
    learning,
    mechanics,
    neighbors,
    numerics,
    potentials,
    shear,
)
from stzjax.core import geometry, loads, structure, units
from stzjax.core.structure import Structure
from stzjax.dynamics import npt, nve, quench
from stzjax.evaluation import metrics
from stzjax.learning import graphs, losses, models, sensitivity, splits, training
from stzjax.mechanics import energetics, hessians, implicit, relax
from stzjax.shear import aqs, events, nonaffine
