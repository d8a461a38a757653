"""Files: what is written comes back, foreign formats agree with ASE, bad files say so."""

import bz2
import gzip
import json
import lzma

import numpy as np
import pytest
from ase import Atoms
from ase import io as ase_io

from stzjax import io
from stzjax.core.structure import Structure
from stzjax.io import archives


@pytest.fixture
def structure():
    rng = np.random.default_rng(3)
    cell = np.array([[12.0, 1.5, -2.0], [0.0, 11.0, 0.7], [0.0, 0.0, 13.0]])
    return Structure.create(rng.random((40, 3)), cell, rng.integers(0, 2, 40), ("Cu", "Zr"))


def same(a, b, tolerance):
    gap = np.asarray(a.fractional) - np.asarray(b.fractional)
    assert np.abs(gap - np.round(gap)).max() < tolerance
    np.testing.assert_allclose(a.cell, b.cell, atol=tolerance * 20)
    assert [a.elements[i] for i in a.species] == [b.elements[i] for i in b.species]


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("a.npz", 1e-15), ("a.extxyz", 1e-8), ("a.data", 1e-8), ("a.dump", 1e-14)],
)
def test_round_trip(tmp_path, structure, name, tolerance):
    path = tmp_path / name
    io.write(path, structure, {"label": np.arange(40) % 2 == 0})
    same(structure, io.read(path, elements=("Cu", "Zr")), tolerance)


def test_type_one_is_the_first_element(tmp_path, structure):
    io.write(tmp_path / "a.data", structure)
    lines = (tmp_path / "a.data").read_text().split("\n")
    first = lines.index("Masses")
    (tmp_path / "a.data").write_text("\n".join(lines[:first] + lines[first + 5 :]))
    swapped = io.read(tmp_path / "a.data", elements=("Zr", "Cu"))
    assert np.array_equal(swapped.species, structure.species)
    assert swapped.elements == ("Zr", "Cu")


@pytest.mark.parametrize("name", ("a.data", "a.dump"))
def test_elements_that_the_file_contradicts_are_refused(tmp_path, structure, name):
    io.write(tmp_path / name, structure)
    with pytest.raises(ValueError, match=r"type \d .*, but elements makes it (Cu|Zr)"):
        io.read(tmp_path / name, elements=("Zr", "Cu"))


FORMATS = ("a.data", "a.dump", "a.extxyz")


@pytest.mark.parametrize("name", (*FORMATS, "a.npz"))
@pytest.mark.parametrize("second", ((0.25, 0.5, 0.0), (1.25, 0.5, -1.0), (0.25, 0.5, 1 - 1e-9)))
def test_two_atoms_in_one_place_are_refused(tmp_path, structure, name, second):
    """Also where a box length lies between them; the atoms are named."""
    fractional = np.array(structure.fractional)
    fractional[[6, 30]] = (0.25, 0.5, 0.0), second
    twins = Structure.create(fractional, structure.cell, structure.species, structure.elements)
    io.write(tmp_path / name, twins)
    with pytest.raises(ValueError, match="atoms 7 and 31 are in one place"):
        io.read(tmp_path / name, elements=("Cu", "Zr"))


def test_close_atoms_are_not_one(tmp_path, structure):
    fractional = np.array(structure.fractional)
    fractional[30] = fractional[6] + [0.02 / 12.0, 0.0, 0.0]
    near = Structure.create(fractional, structure.cell, structure.species, structure.elements)
    io.write(tmp_path / "a.dump", near)
    same(near, io.read(tmp_path / "a.dump", elements=("Cu", "Zr")), 1e-14)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_ends_inside_a_number_is_refused(tmp_path, structure, name):
    """The last coordinate would be short without a word."""
    io.write(tmp_path / name, structure)
    text = (tmp_path / name).read_text().rstrip()
    for cut in (1, 3, 5):
        (tmp_path / name).write_text(text[:-cut])
        last = text[:-cut].split()[-1]
        line = text.count("\n") + 1
        with pytest.raises(ValueError, match=f"line {line} is cut short: .*inside '{last}'"):
            io.read(tmp_path / name, elements=("Cu", "Zr"))


@pytest.mark.parametrize("packer", (gzip, bz2, lzma))
@pytest.mark.parametrize("name", FORMATS)
def test_packed_files_are_what_they_hold(tmp_path, structure, name, packer):
    io.write(tmp_path / name, structure)
    packed = packer.compress((tmp_path / name).read_bytes())
    (tmp_path / "packed").write_bytes(packed)
    expected = io.read(tmp_path / name, elements=("Cu", "Zr"))
    found = io.read(tmp_path / "packed", elements=("Cu", "Zr"))
    assert np.array_equal(found.fractional, expected.fractional)


def test_dump_is_read_in_id_order(tmp_path, structure):
    io.write(tmp_path / "a.dump", structure)
    lines = (tmp_path / "a.dump").read_text().splitlines()
    (tmp_path / "b.dump").write_text("\n".join(lines[:9] + lines[9:][::-1]) + "\n")
    same(structure, io.read(tmp_path / "b.dump", elements=("Cu", "Zr")), 1e-14)


def test_dump_bounds_are_those_of_lammps(tmp_path, structure):
    """ASE's own reader of the triclinic bounds is the reference."""
    io.write(tmp_path / "a.dump", structure, {"d2min": np.linspace(0, 1, 40)})
    atoms = ase_io.read(tmp_path / "a.dump", format="lammps-dump-text")
    np.testing.assert_allclose(atoms.cell.array, np.asarray(structure.cell).T, atol=1e-12)
    assert "d2min" in (tmp_path / "a.dump").read_text().splitlines()[8]


def test_rotated_cell_keeps_its_distances(tmp_path):
    rng = np.random.default_rng(0)
    cell = rng.normal(size=(3, 3)) + 8 * np.eye(3)
    atoms = Atoms("Cu20Zr10", scaled_positions=rng.random((30, 3)), cell=cell, pbc=True)
    ase_io.write(tmp_path / "a.extxyz", atoms)
    read = io.read(tmp_path / "a.extxyz")
    back = io.to_ase(read)
    assert read.elements == ("Cu", "Zr")
    np.testing.assert_allclose(
        back.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-6
    )


def test_a_cell_of_the_other_hand_is_no_mirror_image(tmp_path):
    """Bonds a, b, c of four atoms keep the sign of a · (b × c), which a mirror turns round."""
    rng = np.random.default_rng(1)
    cell = (8.0 * np.eye(3) + rng.normal(size=(3, 3)))[[1, 0, 2]]
    assert np.linalg.det(cell) < 0
    places = 4.0 + np.array([[0, 0, 0], [1, 0, 0], [0, 1.2, 0], [0, 0, 1.4]])
    ase_io.write(tmp_path / "a.extxyz", Atoms("Cu4", positions=places, cell=cell, pbc=True))
    read = io.read(tmp_path / "a.extxyz")
    gaps = np.asarray(read.fractional[1:] - read.fractional[0])
    bonds = (gaps - np.round(gaps)) @ np.asarray(read.cell).T
    assert np.linalg.det(bonds) == pytest.approx(1.0 * 1.2 * 1.4, rel=1e-6)


def test_the_last_frame_of_extxyz_counts(tmp_path, structure):
    io.write(tmp_path / "a.extxyz", structure, {"label": np.arange(40)})
    last = (tmp_path / "a.extxyz").read_text()
    first = '1\nLattice="9 0 0 0 9 0 0 0 9"\nAu 0 0 0\n'
    (tmp_path / "a.extxyz").write_text(first + last)
    same(structure, io.read(tmp_path / "a.extxyz"), 1e-8)


def test_other_formats_are_left_to_ase(tmp_path):
    atoms = Atoms("CuZr2", scaled_positions=np.eye(3) / 3, cell=[5, 6, 7], pbc=True)
    for name in ("POSCAR", "a.cif", "a.traj"):
        ase_io.write(tmp_path / name, atoms)
        read = io.read(tmp_path / name)
        np.testing.assert_allclose(read.cell, np.diag([5, 6, 7]), atol=1e-12)
        assert sorted(np.asarray(read.species)) == [0, 1, 1]
    text = (tmp_path / "POSCAR").read_text().rstrip()
    (tmp_path / "POSCAR").write_text(text[:-4])
    with pytest.raises(ValueError, match="is cut short: the file ends inside"):
        io.read(tmp_path / "POSCAR")


def test_extxyz_keeps_columns(tmp_path, structure):
    io.write(
        tmp_path / "a.xyz", structure, {"moduli": np.ones((40, 6)), "label": np.ones(40, bool)}
    )
    atoms = ase_io.read(tmp_path / "a.xyz", format="extxyz")
    assert atoms.get_array("moduli").shape == (40, 6)
    assert (atoms.get_array("label") == 1).all()


LATTICE = 'Lattice="9 0 0 0 9 0 0 0 9"'
REFUSED = [
    (None, "cannot read .*No such file"),
    ("", "it is empty"),
    ("hello\n", "line 1 has 'hello' where the number of atoms must stand"),
    ("2\nno cell\nCu 0 0 0\nCu 1 1 1\n", "line 2 is not periodic"),
    (f'1\n{LATTICE} pbc="T T F"\nCu 0 0 0\n', "line 2 is not periodic"),
    (f"1\n{LATTICE}\nAu 0 0 0\n", "it holds Au, but elements names Cu, Zr"),
    (f"2\n{LATTICE}\nCu 0 0 0\n", "line 1 says 2 atoms, but 1 lines hold atoms"),
    (f"1\n{LATTICE}\nCu 0 0 0\nCu 1 1 1\n", "line 4 has 4 words instead of 1"),
    (f"0\n{LATTICE}\n", "line 1 says 0 atoms"),
    (f"1\n{LATTICE}\nCu 1. 5 0 0\n", "line 3 has 5 words instead of 4"),
    (f"1\n{LATTICE}\nCu 1,5 0 0\n", "line 3 has '1,5' where a finite number must stand"),
    (f"1\n{LATTICE} Properties=Z:I:1:pos:R:3\n29 0 0 0\n", "line 2 needs Properties with"),
    (f"1\n{LATTICE} Properties=species:S:1:pos:R:2\nCu 0 0\n", "line 2 needs Properties with"),
    (f"1\n{LATTICE} Properties=species:S:1:pos:R:3:x\nCu 0 0 0\n", "line 2 needs Properties"),
    (f"1\n{LATTICE} {LATTICE}\nCu 0 0 0\n", "line 2 has Lattice 2 times"),
    ('1\nLattice="9 0 0 9 0 0 0 0 9"\nCu 0 0 0\n', "its cell has no volume"),
    ('1\nLattice="9 0 0 0 9 0 0 0 1e999"\nCu 0 0 0\n', "line 2 has '1e999' where a finite"),
    (
        "ITEM: TIMESTEP\n0\n",
        "line 3 must begin with 'ITEM: NUMBER OF ATOMS'; the last frame is cut",
    ),
]


@pytest.mark.parametrize(("content", "said"), REFUSED)
def test_bad_structures_are_refused(tmp_path, content, said):
    path = tmp_path / "a.xyz"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=said) as caught:
        io.read(path, elements=("Cu", "Zr"))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"lorem\nipsum\n", "write it as one of these"),
        ("a.cif", b"lorem\nipsum\n", "write it as one of these"),
        ("a.gz", b"lorem\nipsum\n", "write it as one of these"),
        ("a.bin", bytes(64), "write it as one of these"),
        ("a.npz", b"lorem\nipsum\n", "no zip file, or cut short"),
        ("a.pdb", b"lorem\nipsum\n", "not periodic"),
        ("a.dump", b"", "it is empty; get it anew"),
    ],
)
def test_what_is_no_structure_is_refused_with_a_remedy(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        io.read(tmp_path / name, elements=("Cu", "Zr"))
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert "; " in str(caught.value) and "unsafely" not in str(caught.value)


def test_an_archive_without_a_structure_is_named(tmp_path):
    archives.save_archive(tmp_path / "a.npz", {"a": np.arange(3)}, {})
    with pytest.raises(ValueError, match=r"cannot read .*a\.npz: it holds no structure: fraction"):
        io.read(tmp_path / "a.npz")


def test_lammps_types_need_elements_that_exist(tmp_path, structure):
    io.write(tmp_path / "a.data", structure)
    with pytest.raises(ValueError, match="it holds LAMMPS types; pass elements"):
        io.read(tmp_path / "a.data")
    with pytest.raises(ValueError, match=r"line \d+ has the type 2, but elements names Cu"):
        io.read(tmp_path / "a.data", elements=("Cu",))


def test_labels_of_a_model(tmp_path):
    """Labels that are no elements keep their names where a format has room for them."""
    mixture = Structure.create(np.eye(3) / 2, 4.0 * np.eye(3), [0, 1, 0], ("A", "B"))
    for ending in ("npz", "dump"):
        io.write(tmp_path / f"a.{ending}", mixture)
        found = io.read(tmp_path / f"a.{ending}", elements=("A", "B"))
        assert found.elements == ("A", "B")
        np.testing.assert_array_equal(found.species, mixture.species)
        np.testing.assert_allclose(found.fractional, mixture.fractional)
    with pytest.raises(ValueError, match=r"takes chemical elements, not A; write .npz or .dump"):
        io.write(tmp_path / "a.extxyz", mixture)
    body = "LAMMPS\n\n1 atoms\n2 atom types\n0 4 xlo xhi\n0 4 ylo yhi\n0 4 zlo zhi\n\nMasses\n\n"
    text = body + "1 1.0\n2 1.0\n\nAtoms # atomic\n\n1 2 0.0 0.0 0.0\n"
    (tmp_path / "a.data").write_text(text)
    assert int(io.read(tmp_path / "a.data", elements=("A", "B")).species[0]) == 1


def test_wrong_column_is_refused(tmp_path, structure):
    with pytest.raises(ValueError, match="one row per atom"):
        io.write(tmp_path / "a.extxyz", structure, {"label": np.ones(39)})
    assert not list(tmp_path.iterdir())


def test_archive_round_trip(tmp_path):
    path = tmp_path / "x.npz"
    archives.save_archive(path, {"a": np.arange(3), "names": np.array(["x", "yz"])}, {"rate": 1e10})
    arrays, settings = archives.load_archive(path)
    assert settings == {"rate": 1e10}
    assert arrays["a"].tolist() == [0, 1, 2]
    assert arrays["names"].tolist() == ["x", "yz"]


def test_archive_refuses_objects(tmp_path):
    with pytest.raises(ValueError, match="not a plain array"):
        archives.save_archive(tmp_path / "x.npz", {"a": np.array([{}])}, {})
    assert not list(tmp_path.iterdir())


def test_damaged_archives_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    archives.save_archive(path, {"a": np.random.default_rng(0).random(1000)}, {})
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="not a complete stzjax archive"):
            archives.load_archive(path)
    np.savez(path, a=np.arange(3))
    with pytest.raises(ValueError, match="not a complete stzjax archive"):
        archives.load_archive(path)
    np.savez(path, meta=np.array(json.dumps({"schema": 99, "settings": {}})))
    with pytest.raises(ValueError, match="newer"):
        archives.load_archive(path)


def test_no_byte_of_an_archive_can_change_unnoticed(tmp_path):
    """Every byte flipped in turn: read as it was, or refused."""
    path = tmp_path / "x.npz"
    arrays = {"a": np.arange(5.0), "names": np.array(["x", "yz"])}
    archives.save_archive(path, arrays, {"rate": 1e10})
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x21]) + whole[place + 1 :])
        try:
            found, settings = archives.load_archive(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
            continue
        assert settings == {"rate": 1e10} and set(found) == set(arrays)
        for name, values in arrays.items():
            np.testing.assert_array_equal(found[name], values)
    assert refused > 0.5 * len(whole)


def test_archives_of_the_first_schema_are_read(tmp_path):
    meta = {"schema": 1, "stzjax": "0.1.0", "settings": {"rate": 1.0}}
    np.savez_compressed(tmp_path / "x.npz", meta=np.array(json.dumps(meta)), a=np.arange(3))
    arrays, settings = archives.load_archive(tmp_path / "x.npz")
    assert arrays["a"].tolist() == [0, 1, 2] and settings == {"rate": 1.0}


def test_a_settings_digest_that_does_not_fit_is_noticed(tmp_path):
    path = tmp_path / "x.npz"
    archives.save_archive(path, {"a": np.arange(3)}, {"rate": 1.0})
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    meta = json.loads(str(content["meta"]))
    meta["settings"]["rate"] = 2.0
    np.savez(path, **{**content, "meta": np.array(json.dumps(meta))})
    with pytest.raises(archives.Damaged, match="does not hold what was written"):
        archives.load_archive(path)


def test_records_are_sealed(tmp_path):
    path = tmp_path / "x.json"
    archives.write_record(path, {"a": 1.5, "b": [1, None], "c": float("nan")})
    assert archives.read_record(path) == {"a": 1.5, "b": [1, None], "c": None}
    path.write_text(path.read_text().replace("1.5", "1.6"))
    with pytest.raises(archives.Damaged, match="damaged or was edited"):
        archives.read_record(path)
    path.write_text("[1]")
    with pytest.raises(archives.Damaged, match="must hold a JSON object, got list"):
        archives.read_record(path)
    path.write_text('{"a": 1}')
    assert archives.read_record(path) == {"a": 1}


def test_what_is_set_aside_is_never_written_over(tmp_path):
    for content in ("one", "two", "three"):
        (tmp_path / "x.npz").write_text(content)
        archives.set_aside(tmp_path / "x.npz")
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {
        "x.npz.damaged": "one", "x.npz.damaged2": "two", "x.npz.damaged3": "three",
    }  # fmt: skip


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    archives.write_text(path, "old")
    with pytest.raises(RuntimeError), archives.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_json_is_strict(tmp_path):
    archives.write_json(
        tmp_path / "x.json", {"a": float("nan"), "b": (1, np.float64(2.5)), "c": np.int64(3)}
    )
    assert archives.read_json(tmp_path / "x.json") == {"a": None, "b": [1, 2.5], "c": 3}
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        archives.read_json(tmp_path / "x.json")


def test_saving_takes_no_more_than_a_fiftieth_of_the_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(archives.time, "monotonic", lambda: now[0])
    clock, eager = archives.Clock(10.0), archives.Clock(0.0)
    assert eager.struck() and not clock.struck()
    now[0] = 10.0
    assert clock.struck()

    for each in (clock, eager):
        with each.saving():
            now[0] += 3.0
    assert eager.struck()
    now[0] = 13.0 + 149.0
    assert not clock.struck()
    now[0] = 13.0 + 151.0
    assert clock.struck()
    with clock.saving():
        pass
    now[0] += 10.0
    assert clock.struck()
