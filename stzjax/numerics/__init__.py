"""Solvers and loops that know nothing of atoms.

Conjugate gradients for many right-hand sides, lowest eigenpairs, the memory of quasi-Newton
methods, loops over batches, keeping XLA from fusing. Whatever needs a structure or a potential
belongs elsewhere: this package imports nothing of stzjax.
"""

from stzjax.numerics import (
    batching,
    conjugate_gradient,
    eigensolver,
    precision,
    quasi_newton,
    unfused,
)

__all__ = ["batching", "conjugate_gradient", "eigensolver", "precision", "quasi_newton", "unfused"]
