"""Files: what is written comes back, foreign formats agree with ASE, bad files say so."""

import json

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
    swapped = io.read(tmp_path / "a.data", elements=("Zr", "Cu"))
    assert np.array_equal(swapped.species, structure.species)
    assert swapped.elements == ("Zr", "Cu")


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


def test_extxyz_keeps_columns(tmp_path, structure):
    io.write(
        tmp_path / "a.xyz", structure, {"moduli": np.ones((40, 6)), "label": np.ones(40, bool)}
    )
    atoms = ase_io.read(tmp_path / "a.xyz", format="extxyz")
    assert atoms.get_array("moduli").shape == (40, 6)
    assert (atoms.get_array("label") == 1).all()


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (None, {}, "cannot read"),
        ("", {}, "cannot read"),
        ("hello\n", {}, "cannot read"),
        ("2\nno cell\nCu 0 0 0\nCu 1 1 1\n", {}, "not periodic"),
        ('1\nLattice="9 0 0 0 9 0 0 0 9" pbc="T T T"\nAu 0 0 0\n', {"elements": ("Cu",)}, "Au"),
        ("ITEM: TIMESTEP\n0\n", {}, "pass elements"),
        ("ITEM: TIMESTEP\n0\n", {"elements": ("Cu", "Zr")}, "cannot read"),
    ],
)
def test_bad_structures_are_refused(tmp_path, content, options, said):
    path = tmp_path / "a.xyz"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=said):
        io.read(path, **options)


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

    def slow():
        now[0] += 3.0

    clock.saving(slow)
    eager.saving(slow)
    assert eager.struck()
    now[0] = 13.0 + 149.0
    assert not clock.struck()
    now[0] = 13.0 + 151.0
    assert clock.struck()
    clock.saving(lambda: None)
    now[0] += 10.0
    assert clock.struck()
