"""A described run folder made of random numbers, with a signal that can be learned in seconds."""

import numpy as np

from stzjax.core.structure import Structure
from stzjax.descriptors import table
from stzjax.pipeline import stages
from stzjax.run_folder.folder import Folder, prepare
from stzjax.run_folder.settings import PRESETS
from stzjax.shear import aqs
from stzjax.shear.run import ENDINGS

NUM_ATOMS, NUM_SPECIMENS = 60, 10
DIRECTIONS = ("+xy", "-yz")
SIGNAL = table.COLUMNS.index("C44")
"""Column whose mean over an atom and its neighbours decides where D²min is large."""

SETTINGS = PRESETS["smoke"].changed(
    num_atoms=NUM_ATOMS,
    num_specimens=NUM_SPECIMENS,
    melt_time=2.0,
    layers=1,
    features_per_head=4,
    heads=2,
    dense=(4,),
    learning_rate=0.02,
    epochs=4,
    graphs_per_batch=4,
)

ATOMS = np.arange(NUM_ATOMS)
PAIRS = np.concatenate([np.stack([ATOMS, (ATOMS + k) % NUM_ATOMS], 1) for k in (-2, -1, 1, 2)])


def write(out, quiet=(), **changes) -> Folder:
    """Specimens, shear runs and features; lanes named in `quiet` have no event."""
    settings = SETTINGS.changed(**changes)
    folder = prepare(out, settings, "smoke")
    rng = np.random.default_rng(0)
    for number in range(settings.quench.num_specimens):
        glass = Structure.create(
            rng.random((NUM_ATOMS, 3)), np.diag([12.0, 11.0, 13.0]), ATOMS % 2, ("Cu", "Zr")
        )
        arrays = {
            "fractional": glass.fractional,
            "cell": glass.cell,
            "species": glass.species,
            "elements": np.array(glass.elements),
        }
        folder.save(folder.specimen(number), "quench", arrays)
        for direction in settings.labels.directions:
            features = rng.normal(size=(NUM_ATOMS, len(table.COLUMNS)))
            around = sum(np.roll(features[:, SIGNAL], k) for k in (-2, -1, 0, 1, 2))
            field = 10.0 ** (-2.4 + around / np.sqrt(5) + 0.1 * rng.normal(size=NUM_ATOMS))
            if (number, direction) in quiet:
                field *= 1e-3 / field.max()
            stages.write_run(folder, (number, direction), _run(glass, direction, field))
            arrays = {
                "features": features,
                "pairs": PAIRS,
                "columns": np.array(table.COLUMNS),
            }
            folder.save(folder.features(number, direction), "describe", arrays)
    return folder


def _run(glass, direction: str, field: np.ndarray) -> aqs.Run:
    """Two steps: a first rearrangement half as large, and the field itself."""
    fields = np.stack([0.3 * field * (field == field.max()), field])
    kept = fields.max(axis=1) > 0.01
    return aqs.Run(
        direction=direction,
        strain=1e-4 * np.arange(3),
        energy=np.zeros(3),
        stress=np.zeros((3, 3, 3)),
        max_d2min=np.array([0.0, *fields.max(axis=1)]),
        iterations=np.ones(3, int),
        residual=np.zeros(3),
        history_step=np.flatnonzero(kept) + 1,
        history_d2min=fields[kept],
        pairs=PAIRS,
        final=glass,
        outcome=ENDINGS[int(field.max() > 0.1)],
        config=aqs.ShearConfig(),
    )
