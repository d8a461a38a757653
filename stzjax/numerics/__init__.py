"""Solvers and loops that know nothing of atoms.

`conjugate_gradient` solves for many right-hand sides, `eigensolver` finds the lowest eigenpairs,
`quasi_newton` is the memory of L-BFGS, `batching` serves those systems of a batch that wait,
`unfused` keeps XLA from joining passes, `platform` says whether programs are made for a CPU or
a GPU. Code that needs a structure or a potential belongs elsewhere: this package imports nothing of
stzjax.
"""
