"""Derivatives through the whole path, put to use: three worked examples on a finished run.

    python experiments/differentiate.py --out=runs/quickstart

(a) confidence: which positions move the confidence of an atom most; (b) stiffness: the mean C44 by
the coefficients of the potential, against glasses relaxed again; (c) descriptor: radial and angular
symmetry functions learned end to end through the network, against the same ones frozen, on
specimens held out in turn. Numbers and figures go to `differentiate/` in the folder of the run, the
trainings of (c) to `differentiate/trials/`.
"""

import options  # Before jax loads.

# isort: split
from collections.abc import Callable

from absl import flags

from stzjax.figures import picture
from stzjax.io import archives
from stzjax.pipeline import differentiate
from stzjax.pipeline.draw import Drawn
from stzjax.run_folder.folder import Folder

import flag_help

_PARTS = flag_help.define_list(
    "parts", ("confidence", "stiffness", "descriptor"), "Examples to work out."
)
_ATOM = flags.DEFINE_integer("atom", None, "Atom of (a); the most confident atom if not given.")
_SPECIMEN = flags.DEFINE_integer("specimen", 0, "Specimen of (b).", lower_bound=0)
_CHANGE = flags.DEFINE_float("change", 1e-4, "Relative change of the coefficients in (b).")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Networks for each held-out specimen in (c).", 1)
_RADIAL = flags.DEFINE_integer("radial", 8, "Radial functions for each species in (c).", 0)
_ANGULAR = flags.DEFINE_integer("angular", 4, "Angular functions for each pair in (c).", 0)


PARTS: dict[str, Callable[[Folder], Drawn]] = {
    "confidence": lambda folder: differentiate.confidence(folder, _ATOM.value),
    "stiffness": lambda folder: differentiate.stiffness(folder, _SPECIMEN.value, _CHANGE.value),
    "descriptor": lambda folder: differentiate.descriptor(
        folder, range(_SEEDS.value), _RADIAL.value, _ANGULAR.value, options.workers().threads
    ),
}


def _answer(folder: Folder) -> None:
    """Answer the questions asked and write numbers and figures."""
    unknown = set(_PARTS.value) - set(PARTS)
    if unknown:
        raise ValueError(f"--parts takes {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    for name in _PARTS.value:
        answer = PARTS[name](folder)
        archives.write_json(folder.path / "differentiate" / f"{name}.json", answer.numbers)
        picture.save(answer.figure, folder.path / "differentiate" / f"{name}.png")
        print(f"{name}: {folder.path / 'differentiate' / name}.json, .png")


if __name__ == "__main__":
    options.main(_answer, options.STUDY)
