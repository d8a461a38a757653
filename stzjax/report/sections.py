"""The run itself, section by section, as plain values and charts for the templates.

None stands for a section without anything to show.
"""

from typing import Any

import numpy as np

from stzjax.evaluation import called_by_d2min
from stzjax.evaluation.called_by_d2min import OPERATING
from stzjax.figures import atoms, d2min, run
from stzjax.figures.chart import Chart
from stzjax.run_folder.contents import Contents


def glasses(found: Contents) -> str:
    """Number and composition of the specimens, such as "6 Cu64Zr36 glasses of 1,000 atoms"."""
    if not found.specimens:
        return "No specimen yet"
    first, num = next(iter(found.specimens.values())).structure, len(found.specimens)
    share = 100 * np.bincount(first.species, minlength=len(first.elements)) / first.num_atoms
    formula = "".join(f"{e}{s:.3g}" for e, s in zip(first.elements, share, strict=True) if s)
    return f"{num} {formula} glass{'' if num == 1 else 'es'} of {first.num_atoms:,} atoms"


def traces(found: Contents) -> Chart | None:
    """Energy and density along the quenches that were recorded."""
    whole = [(n, one.trace) for n, one in found.specimens.items() if len(one.trace) == 3]
    names = ("temperature", "energy", "density")
    columns = [[trace[name] for _, trace in whole] for name in names]
    return run.quench_trace([number for number, _ in whole], *columns) if whole else None


def events(found: Contents) -> dict[str, Any]:
    """Strains and sizes of the first events, and the class ratio."""
    event = found.events()
    prevalence = (found.metrics.get("test") or {}).get("prevalence")
    if prevalence is None and found.test:
        prevalence = float(np.mean(found.test.label))
    chart = None
    if event["strains"]:
        chart = run.events(event["strains"], event["sizes"], prevalence)
    percents = 100 * np.asarray(event["strains"] or [np.nan], float)
    return {
        **event, "percents": percents, "median": np.median(percents), "prevalence": prevalence,
        "median_size": np.median(event["sizes"] or [np.nan]), "chart": chart,
    }  # fmt: skip


def correlation(found: Contents) -> dict[str, Any] | None:
    """The share of atoms called positive against their D²min, and the histogram of D²min."""
    if found.test is None:
        return None
    values, runs = found.test_d2min(), found.test.runs()
    missing = sum(bool(np.isnan(values[span]).all()) for _, _, span in runs)
    test, seed = found.test, int(found.config.get("seed", 0))
    share = called_by_d2min.at_operating(
        values, test.confidence, test.specimen, found.threshold, seed
    )
    finite = np.isfinite(values)
    return {
        "runs": len(runs) - missing,
        "missing": missing,
        "atoms": int(share.atoms.sum()),
        "called": int(np.sum(finite & (test.confidence >= OPERATING))),
        "outside": int(np.sum(finite) - share.atoms.sum()),
        "specimens": share.specimens,
        "operating": OPERATING,
        "few": d2min.FEW,
        "chart": d2min.shares(share, values, found.threshold),
    }


def shown(found: Contents) -> list[atoms.Scene]:
    """The test runs whose specimen is in the folder with the same number of atoms."""
    if found.test is None:
        return []
    values, test = found.test_d2min(), found.test
    glasses = {number: one.structure for number, one in found.specimens.items()}
    return [
        atoms.Scene(n, d, glasses[n], test.label[span], test.confidence[span], values[span])
        for n, d, span in test.runs()
        if n in glasses and glasses[n].num_atoms == span.stop - span.start
    ]


def view(found: Contents) -> dict[str, Any] | None:
    """The data of the 3D view, and how many test runs are left out of it."""
    if found.test is None:
        return None
    data = atoms.view(shown(found), found.operating(), found.threshold)
    return {"data": data, "omitted": len(found.test.runs()) - len(data["runs"])}
