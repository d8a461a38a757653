"""The atoms of the test runs for the 3D view and its cross-section, as compact JSON values."""

import base64
import json
from typing import Any

import numpy as np
import plotly.colors

from stzjax.figures import stages
from stzjax.report.markup import absent
from stzjax.report.results import Results, Specimen

MAX_VIEW_ATOMS = 1_000_000
"""Atoms of all runs in the view together; about 10 bytes of the page each."""

D2MIN_LOW, D2MIN_STEP = -16.0, 3e-4
"""Decimal logarithm of the D²min that has code 1 [Å²], and its increase from code to code."""

_CODES = 2**16


def section(found: Results) -> str:
    """The controls and the content of the 3D view."""
    if found.test is None:
        return absent("No predictions yet.")
    shown = view(found)
    if not shown["runs"]:
        return absent("The specimens of the test set are not in this folder.")
    left = f" {shown['omitted']} test runs are left out." if shown["omitted"] else ""
    return (
        "<p>The unsheared glass of a test run, with the atoms that move first under the load and "
        "those the model points at; beside it a cross-section, as in Figure 3 of the paper. Drag "
        f"to turn, scroll to zoom.{left}</p>{_CONTROLS}"
        '<div id="view-counts"></div><div class="views"><div id="view"></div>'
        '<div><div id="slice"></div><p class="note" id="slice-text"></p></div></div>'
        '<p class="note" id="view-text"></p>'
        f'<script type="application/json" id="view-data">{script_json(shown)}</script>'
    )


def _slider(name: str, words: str, low: float, high: str, step: str) -> str:
    return (
        f'<label>{words} <input id="view-{name}" type="range" min="{low:g}" max="{high}" '
        f'step="{step}"> <output id="view-{name}-value"></output></label>'
    )


def _box(name: str, words: str, checked: str) -> str:
    return f'<label><input id="view-{name}" type="checkbox"{checked}> {words}</label>'


_CONTROLS = (
    '<div class="controls"><label>Run <select id="view-run"></select></label>'
    '<label>Colour <select id="view-colour"><option value="outcome">outcome</option>'
    '<option value="d2min">D²min</option><option value="confidence">confidence</option></select>'
    "</label>"
    f"{_slider('threshold', 'Threshold', 0, '1', 'any')}"
    '<span id="view-thresholds"></span></div><div class="controls">'
    f"{_slider('height', 'Cross-section at z', 0, '1', '0.1')}"
    f"{_slider('thickness', 'thickness', 0.5, '15', '0.5')}"
    '<button id="view-core">through the most mobile atom</button></div><div class="controls">'
    f"{_box('false', 'false positives', ' checked')}{_box('others', 'other atoms', ' checked')}"
    f"{_box('only', 'cross-section only', '')}"
    f"{_box('centred', 'shift that atom to the middle', ' checked')}</div>"
)


def script_json(value: Any) -> str:
    """JSON that cannot close the script element around it."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def view(found: Results) -> dict[str, Any]:
    """What the view needs, arrays in base64: 10 bytes per atom and specimen, 10 per run.

    Runs beyond `MAX_VIEW_ATOMS` are left out, as those whose specimen is not stored; "omitted"
    counts both. "start" is the first run with an event.
    """
    test, runs, used, total = found.test, [], set(), 0
    d2min = found.test_d2min() if test else np.zeros(0)
    for number, direction, span in found.shown_runs():
        total += span.stop - span.start
        if test is None or total > MAX_VIEW_ATOMS:
            break
        used.add(number)
        run = {"specimen": number, "direction": direction}
        run["label"] = _base64(test.label[span], "u1")
        run["confidence"] = _base64(test.confidence[span], "<f4")
        known = np.isfinite(d2min[span]).all()
        run["d2min"] = _base64(codes(d2min[span]), "<u2") if known else None
        runs.append((run, bool(test.label[span].any())))
    return {
        "runs": [run for run, _ in runs],
        "start": next((index for index, (_, moved) in enumerate(runs) if moved), 0),
        "omitted": len(test.runs()) - len(runs) if test else 0,
        "specimens": {str(number): _atoms(found.specimens[number]) for number in sorted(used)},
        "thresholds": found.thresholds(),
        "moved_above": found.threshold,
        "d2min_low": D2MIN_LOW,
        "d2min_step": D2MIN_STEP,
        "colours": stages.ATOM_COLOURS,
        "colour_scale": plotly.colors.sequential.Magma_r,
    }


def codes(d2min) -> np.ndarray:
    """D²min as 16-bit codes of its logarithm, to 0.04 %; 0 where it is zero or all but zero."""
    d2min = np.asarray(d2min, float)
    logarithm = np.log10(np.where(d2min > 0, d2min, 10.0**D2MIN_LOW))
    code = 1 + np.round((logarithm - D2MIN_LOW) / D2MIN_STEP)
    return np.where(d2min >= 10.0**D2MIN_LOW, code.clip(1, _CODES - 1), 0).astype(np.uint16)


def _atoms(specimen: Specimen) -> dict[str, Any]:
    glass = specimen.structure
    # The last code and the first are neighbours: coordinates are periodic.
    fractional = np.round(np.asarray(glass.fractional) * _CODES).astype(int) % _CODES
    return {
        "fractional": _base64(fractional, "<u2"),
        "cell": np.asarray(glass.cell, float).round(4).tolist(),
        "species": _base64(glass.species, "u1"),
        "elements": list(glass.elements),
    }


def _base64(values, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, np.dtype(dtype)).tobytes()).decode()
