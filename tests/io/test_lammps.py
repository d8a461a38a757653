"""LAMMPS files as LAMMPS writes them, by hand: read for what they say, or refused with the place.

The reference is the configuration that the texts were written from, in plain NumPy.
"""

import gzip
import itertools

import numpy as np
import pytest

from stzjax import io

ELEMENTS = ("Cu", "Zr")
NUM = 12
rng = np.random.default_rng(5)
LOW, SIDES, (XY, XZ, YZ) = np.array([-3.0, 1.5, 0.25]), np.array([9.0, 8.0, 7.0]), (1.5, -2.0, 0.7)
CELL = np.diag(SIDES) + np.array([[0, XY, XZ], [0, 0, YZ], [0, 0, 0]])
FRACTIONAL = rng.random((NUM, 3))
TYPES = rng.permutation([1, 2] * (NUM // 2))
IDS = 3 * rng.permutation(NUM) + 5
IMAGES = rng.integers(-2, 3, (NUM, 3))
TURN = np.linalg.qr(rng.normal(size=(3, 3)))[0]
TURN *= np.linalg.det(TURN)


def text(row) -> str:
    return " ".join(f"{value:.17g}" for value in row)


def positions(fractional=FRACTIONAL, cell=CELL):
    return LOW + fractional @ cell.T


BOX = (
    "".join(
        f"{low:.17g} {low + side:.17g} {axis}lo {axis}hi # sides\n"
        for low, side, axis in zip(LOW, SIDES, "xyz", strict=True)
    )
    + f"{XY} {XZ} {YZ} xy xz yz\n"
)
MASSES = "Masses\n\n1 63.5 # copper\n2 91.2\n\n"
LABELS = "Atom Type Labels\n\n1 Cu\n2 Zr\n\n"
PLACES = [text(row) for row in positions()]
SYMBOLS = ["CuZr"[2 * t - 2 : 2 * t] for t in TYPES]


def data(rows, style="atomic", box=BOX, sections=MASSES, after="") -> str:
    """A data file; `rows` gives the words of an atom by its index."""
    heading = f"Atoms  # {style}" if style else "Atoms"
    atoms = "".join(f"{IDS[k]} {rows(k)}\n" for k in range(NUM))
    head = f"LAMMPS data file\n\n{NUM} atoms\n2 atom types\n\n{box}\n"
    return f"{head}{sections}{heading}\n\n{atoms}{after}"


def plain(k: int) -> str:
    return f"{TYPES[k]} {PLACES[k]}"


def dump(columns: str, rows, box=None, before="") -> str:
    """A frame of a dump; `rows` gives the words of an atom by its index."""
    if box is None:
        low, high = LOW + np.array([XZ, 0, 0]), LOW + SIDES + np.array([XY, YZ, 0])
        bounds = "".join(text(row) + "\n" for row in zip(low, high, (XY, XZ, YZ), strict=True))
        box = f"xy xz yz pp pp pp\n{bounds}"
    head = f"{before}ITEM: TIMESTEP\n7\nITEM: NUMBER OF ATOMS\n{NUM}\nITEM: BOX BOUNDS {box}"
    return head + f"ITEM: ATOMS {columns}\n" + "".join(f"{rows(k)} \n" for k in range(NUM))


def custom(k: int) -> str:
    return f"{IDS[k]} {TYPES[k]} {PLACES[k]}"


def read(tmp_path, content: str | bytes, name="glass"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return io.read(path, elements=ELEMENTS)


def assert_held(structure, absolute=True) -> None:
    """The structure is the configuration, in the order of ids; `absolute` compares places too."""
    order = np.argsort(IDS)
    np.testing.assert_array_equal(np.asarray(structure.species) + 1, TYPES[order])
    np.testing.assert_allclose(structure.cell, CELL, atol=1e-12)
    gap = np.asarray(structure.fractional) - FRACTIONAL[order]
    shift = np.linalg.solve(CELL, LOW) if absolute else gap[0]
    np.testing.assert_allclose(gap - shift - np.round(gap - shift), 0.0, atol=1e-12)


STYLES = {
    "": plain,
    "atomic": plain,
    "charge": lambda k: f"{TYPES[k]} -0.5 {PLACES[k]}",
    "molecular": lambda k: f"1 {TYPES[k]} {PLACES[k]}",
    "full": lambda k: f"1 {TYPES[k]} 0.5 {PLACES[k]}",
}


@pytest.mark.parametrize("flags", (False, True))
@pytest.mark.parametrize("style", STYLES)
def test_data_of_every_style(tmp_path, style, flags):
    def rows(k):
        images = " ".join(str(n) for n in IMAGES[k])
        return STYLES[style](k) + (f" {images} # remark" if flags else "")

    velocities = "\nVelocities\n\n" + "".join(f"{n} 0 0 0\n" for n in IDS)
    assert_held(read(tmp_path, data(rows, style, after=velocities if flags else "")))


COLUMNS = {
    "id type x y z": custom,
    "id type xs ys zs": lambda k: f"{IDS[k]} {TYPES[k]} {text(FRACTIONAL[k])}",
    "type c_pe id xu yu zu": lambda k: (
        f"{TYPES[k]} nan {IDS[k]} {text(positions((FRACTIONAL + IMAGES)[k]))}"
    ),
    "xsu ysu zsu mass type id": lambda k: (
        f"{text((FRACTIONAL + IMAGES)[k])} {63.546 if TYPES[k] == 1 else 91.2} {TYPES[k]} {IDS[k]}"
    ),
    "id type element z y x": lambda k: (
        f"{IDS[k]} {TYPES[k]} {SYMBOLS[k]} {text(positions()[k][::-1])}"
    ),
    "id element x y z": lambda k: f"{IDS[k]} {SYMBOLS[k]} {PLACES[k]}",
}


@pytest.mark.parametrize("columns", COLUMNS)
def test_dump_of_every_kind_of_columns(tmp_path, columns):
    assert_held(read(tmp_path, dump(columns, COLUMNS[columns])))


def test_the_last_frame_of_a_dump_counts(tmp_path):
    other = dump("id type x y z", lambda k: f"{k + 1} 1 {k} 0 0")
    units = "ITEM: UNITS\nmetal\nITEM: TIME\n0.5\n"
    content = units + other + dump("id type x y z", custom, before="ITEM: TIME\n0.6\n")
    assert_held(read(tmp_path, content))


def test_an_upright_box_has_no_tilts(tmp_path):
    bounds = "".join(f"{low} {low + side}\n" for low, side in zip(LOW, SIDES, strict=True))
    rows = lambda k: f"{IDS[k]} {TYPES[k]} {text(FRACTIONAL[k])}"  # noqa: E731
    found = read(tmp_path, dump("id type xs ys zs", rows, box=f"pp pp pp\n{bounds}"))
    np.testing.assert_allclose(found.cell, np.diag(SIDES), atol=1e-12)
    places = (np.asarray(found.positions()) - LOW) / SIDES - FRACTIONAL[np.argsort(IDS)]
    np.testing.assert_allclose(places - np.round(places), 0.0, atol=1e-12)


@pytest.mark.parametrize("tilts", ((1.5, 2.0, 0.7), (-1.5, -2.0, -0.7), (-1.5, 2.0, 0.7)))
def test_the_bounds_of_a_dump_are_those_around_all_corners(tmp_path, tilts):
    xy, xz, yz = tilts
    cell = np.diag(SIDES) + np.array([[0, xy, xz], [0, 0, yz], [0, 0, 0]])
    corners = LOW + np.array(list(itertools.product((0, 1), repeat=3))) @ cell.T
    rows = zip(corners.min(axis=0), corners.max(axis=0), tilts, strict=True)
    box = "xy xz yz pp pp pp\n" + "".join(text(row) + "\n" for row in rows)
    content = dump("id type xs ys zs", lambda k: f"{k + 1} 1 {text(FRACTIONAL[k])}", box=box)
    found = read(tmp_path, content)
    np.testing.assert_allclose(found.cell, cell, atol=1e-12)
    gap = np.asarray(found.fractional) - FRACTIONAL - np.linalg.solve(cell, LOW)
    np.testing.assert_allclose(gap - np.round(gap), 0.0, atol=1e-12)


def test_a_box_in_any_orientation(tmp_path):
    """The general triclinic boxes of LAMMPS since 2024, in data and in dump."""
    turned = TURN @ CELL
    places = [text(row) for row in positions(cell=turned)]
    box = "".join(
        f"{text(row)} {name}\n"
        for row, name in zip((*turned.T, LOW), ("avec", "bvec", "cvec", "abc origin"), strict=True)
    )
    found = read(tmp_path, data(lambda k: f"{TYPES[k]} {places[k]}", box=box))
    assert_held(found, absolute=False)
    bounds = "".join(text([*row, low]) + "\n" for row, low in zip(turned.T, LOW, strict=True))
    rows = lambda k: f"{IDS[k]} {TYPES[k]} {places[k]}"  # noqa: E731
    found = read(tmp_path, dump("id type x y z", rows, box=f"abc origin pp pp pp\n{bounds}"))
    assert_held(found, absolute=False)


@pytest.mark.parametrize("name", ("a.dump.gz", "a.data.gz", "dump.100.gz", "packed"))
def test_packed_files_are_read(tmp_path, name):
    content = data(plain) if "data" in name else dump("id type x y z", custom)
    packed = gzip.compress(content.encode())
    assert_held(read(tmp_path, packed, name))
    for damaged in (packed[: len(packed) // 2], packed[:60] + b"?" + packed[61:]):
        with pytest.raises(ValueError, match=f"{name}: its compression is damaged or cut short"):
            read(tmp_path, damaged, name)


def test_carriage_returns_and_a_byte_order_mark_do_no_harm(tmp_path):
    for content in (data(plain), dump("id type x y z", custom)):
        assert_held(read(tmp_path, ("\ufeff" + content).replace("\n", "\r\n").encode()))


def test_type_labels_are_read(tmp_path):
    rows = lambda k: f"{SYMBOLS[k]} {PLACES[k]}"  # noqa: E731
    assert_held(read(tmp_path, data(rows, sections=LABELS + MASSES)))
    assert_held(read(tmp_path, data(rows, sections="Masses\n\nCu 63.5\nZr 91\n\n" + LABELS)))
    assert_held(read(tmp_path, data(plain, sections=LABELS)))


@pytest.mark.parametrize("mass", (63.546, 63.5, 64.0, 62.93, 64.93))
def test_rounded_masses_and_those_of_isotopes_are_fine(tmp_path, mass):
    assert_held(read(tmp_path, data(plain, sections=f"Masses\n\n1 {mass}\n2 91.224\n\n")))


TWICE = "pass elements in the order of the types"
REFUSED = {
    "other mass": (data(plain, sections="Masses\n\n1 91.22\n2 63.5\n\n"),
                   r"line 13 gives type 1 the mass 91\.22, but elements makes it Cu \(63\.546\)"),
    "mass of a neighbour": (data(plain, sections="Masses\n\n1 63.5\n2 92.906\n\n"),
                            r"type 2 the mass 92\.906, but elements makes it Zr \(91\.224\)"),
    "zinc": (data(plain, sections="Masses\n\n1 65.4\n\n"), "type 1 the mass 65.4"),
    "label mass": (data(plain, sections=LABELS + "Masses\n\nCu 91.2\n\n"), "type Cu the mass 91.2"),
    "no mass": (data(plain, sections="Masses\n\n1 x\n\n"), "line 13 has 'x' where a finite"),
    "other labels": (data(plain, sections="Atom Type Labels\n\n1 Zr\n2 Cu\n\n"),
                     "line 13 calls type 1 Zr, but elements makes it Cu; " + TWICE),
    "unknown label": (data(lambda k: f"Al {PLACES[k]}", sections=LABELS),
                      "line 18 has the type Al, but elements names Cu, Zr"),
    "third type": (data(lambda k: f"3 {PLACES[k]}"), "line 18 has the type 3, but elements names"),
    "column element": (dump("id type element x y z",
                            lambda k: f"{IDS[k]} {TYPES[k]} {SYMBOLS[-k]} {PLACES[k]}"),
                       r"line 1\d calls type \d (Cu|Zr), but elements makes it"),
    "column mass": (dump("id type mass x y z", lambda k: f"{IDS[k]} {TYPES[k]} 63.5 {PLACES[k]}"),
                    r"gives type 2 the mass 63\.5, but elements makes it Zr"),
    "si": ("ITEM: UNITS\nsi\n" + dump("id type x y z", custom), "in units si; write it anew"),
    "lj": (data(plain).replace("LAMMPS data file", "LAMMPS data file, units = lj"), "in units lj"),
    "style": (data(plain, "sphere"), "its atom style 'sphere' is not read; write it in one of"),
    "width": (data(STYLES["charge"], "atomic"), "line 18 has 6 words instead of 5 or 8"),
    "flags": (data(lambda k: plain(k) + " 0 0"), "line 18 has 7 words instead of 5 or 8"),
    "id": (data(plain).replace(f"\n{IDS[3]} ", f"\n{IDS[0]} "), f"line 21 repeats the id {IDS[0]}"),
    "negative id": (data(plain).replace(f"\n{IDS[3]} ", "\n-4 "), "line 21 has '-4' where an id"),
    "coordinate": (data(plain).replace(PLACES[2].split()[1], "1,5"),
                   "line 20 has '1,5' where a finite number must stand"),
    "count": (data(plain).replace("12 atoms", "13 atoms"), "counts 13 atoms, but 12 lines hold"),
    "half an atom": (data(plain).replace("12 atoms", "12.5 atoms"), "line 3 has '12.5' where"),
    "glued": (data(plain).replace("12 atoms", "12atoms"), "line 3 is no header of a LAMMPS data"),
    "tilt": (data(plain).replace("xy xz yz", "xy xz"), "line 9 is no header of a LAMMPS data"),
    "two tilts": (data(plain).replace("1.5 -2.0 0.7", "1.5 0.7"), "line 9 must be the only one of"),
    "side": (data(plain).replace("xlo xhi", ""), "line 6 is no header of a LAMMPS data file"),
    "sides": (data(plain, box=BOX[BOX.index("\n") + 1 :]), "lacks the line of xlo xhi"),
    "falling": (data(plain).replace("-3 6 xlo", "6 -3 xlo"), "must each have lo below hi"),
    "sections": (data(plain, after="\nAtoms\n\n1 1 0 0 0\n"), "line 31 begins the section Atoms"),
    "no atoms": (data(plain).replace("Atoms", "Atms"), "it has no section Atoms"),
    "open box": (dump("id type x y z", custom).replace("pp pp pp", "pp ff pp"),
                 "line 5 must end with pp pp pp, as for a box that is periodic"),
    "no type": (dump("id x y z", lambda k: f"{IDS[k]} {PLACES[k]}"), "line 9 lacks the columns"),
    "mixed axes": (dump("id type x ys z", custom), "line 9 lacks the columns"),
    "ragged": (dump("id type x y z vx", custom), "line 10 has 5 words instead of 6"),
    "frame": (dump("id type x y z", custom) + "ITEM: TIMESTEP\n8\nITEM: NUMBER OF ATOMS\n",
              "line 26 must begin with 'ITEM: BOX BOUNDS'; the last frame is cut short"),
    "bound": (dump("id type x y z", custom).replace("0.69999999999999996", "inf"),
              "line 8 has 'inf' where a finite number must stand"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_contradicts_itself_or_is_damaged_is_refused(tmp_path, kind):
    content, said = REFUSED[kind]
    with pytest.raises(ValueError, match=f"^cannot read .*glass: .*{said}") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)


@pytest.mark.parametrize("name", ("a.data", "a.lmp", "a.dump", "a.lammpstrj"))
def test_another_file_under_the_name_of_lammps_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"neither a LAMMPS dump, .* nor a data file"):
        read(tmp_path, "lorem\nipsum\n", name)
