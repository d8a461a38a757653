"""Damaged input is read as what it says, or refused in one line that names the file.

`HYPOTHESIS_MAX_EXAMPLES` sets how many files of each kind are tried.
"""

import gzip
import json
import os

import mutations
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stzjax import io, potentials
from stzjax.core.structure import Structure
from stzjax.io import archives
from stzjax.learning import checkpoints, graphs, training
from stzjax.learning.models import gat

ELEMENTS = ("Cu", "Zr")
EXAMPLES = int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "25"))
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def refused(error: Exception, path) -> None:
    """A refusal says in one line which file it is about."""
    assert isinstance(error, ValueError), repr(error)
    assert path.name in str(error), error
    assert "\n" not in str(error).strip(), error


@pytest.fixture(scope="module")
def glass():
    rng = np.random.default_rng(3)
    cell = np.array([[12.0, 1.5, -2.0], [0.0, 11.0, 0.7], [0.0, 0.0, 13.0]])
    return Structure.create(rng.random((24, 3)), cell, rng.integers(0, 2, 24), ELEMENTS)


@pytest.fixture(scope="module")
def files(glass, tmp_path_factory):
    """One file of each format that a stranger may bring."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("a.data", "a.dump", "a.extxyz"):
        io.write(folder / name, glass)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    symbols = [ELEMENTS[k] for k in glass.species]
    lines = whole["a.data"].decode().replace("Masses", "Atom Type Labels\n\n1 Cu\n2 Zr\n\nMasses")
    head, atoms = lines.split("Atoms # atomic\n\n")
    rows = [row.split() for row in atoms.splitlines()]
    for row, symbol in zip(rows, symbols, strict=True):
        row[1] = symbol
    labelled = head + "Atoms # atomic\n\n" + "".join(" ".join(row) + "\n" for row in rows)
    head, _ = whole["a.dump"].decode().split("ITEM: ATOMS")
    scaled = head + "ITEM: ATOMS id mass type xs ys zs\n"
    for k, (symbol, place) in enumerate(zip(symbols, np.asarray(glass.fractional), strict=True)):
        row = [k + 1, mutations.MASSES[symbol], int(glass.species[k]) + 1, *place]
        scaled += " ".join(str(word) for word in row) + " \n"
    return {**whole, "labels.data": labelled.encode(), "scaled.dump.gz": scaled.encode()}


ORACLES = {
    "a.data": mutations.data,
    "labels.data": mutations.data,
    "a.dump": mutations.dump,
    "scaled.dump.gz": mutations.dump,
    "a.extxyz": mutations.extxyz,
}


@pytest.mark.parametrize("name", sorted(ORACLES))
@fuzzed
@given(draws=st.data())
def test_structures(name, files, tmp_path, draws):
    content = draws.draw(mutations.damaged(files[name]))
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    try:
        found = io.read(path, elements=ELEMENTS)
    except Exception as error:
        refused(error, path)
        return
    assert content[-1:].isspace() or name == "a.extxyz"
    held = ORACLES[name](content.decode("utf-8", "replace"), ELEMENTS)
    assert [ELEMENTS[k] for k in found.species] == held.symbols
    assert found.num_atoms == len(held.positions)
    # The cell may have been turned: lengths and angles, and positions in its own units.
    mine, theirs = np.asarray(found.cell), held.cell
    np.testing.assert_allclose(mine.T @ mine, theirs.T @ theirs, rtol=1e-6, atol=1e-6)
    fractional = held.positions @ np.linalg.inv(theirs).T
    gap = (np.asarray(found.fractional) - found.fractional[0]) - (fractional - fractional[0])
    np.testing.assert_allclose(gap - np.round(gap), 0.0, atol=1e-6)
    gaps = fractional[:, None] - fractional
    apart = np.linalg.norm((gaps - np.round(gaps)) @ theirs.T, axis=-1)
    assert (apart + np.eye(len(apart))).min() > 0.005


def blocks_of(text: str) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """F (S, nrho), densities (S, S, nr) with the source first, and r·φ of the pairs of a setfl."""
    lines = [line.split("#")[0].split() for line in text.splitlines()]
    count, num_rho, num_r = len(lines[3]) - 1, int(lines[4][0]), int(lines[4][2])
    assert int(lines[3][0]) == count
    words = [word for line in lines[5:] for word in line]
    end = len(words) - count * (count + 1) // 2 * num_r
    blocks = [row[4:] for row in np.array(words[:end]).reshape(count, 4 + num_rho + count * num_r)]
    values = np.array(blocks).astype(float)
    given = values[:, num_rho:].reshape(count, count, num_r)
    return values[:, :num_rho], given, list(np.array(words[end:]).astype(float).reshape(-1, num_r))


@fuzzed
@given(draws=st.data())
def test_setfl(tmp_path, draws):
    path = tmp_path / "a.eam.fs"
    if not (tmp_path / "whole").exists():
        small = potentials.mendelev2019()
        potentials.write_setfl(tmp_path / "whole", small, num_r=30, num_densities=12)
    content = draws.draw(mutations.damaged((tmp_path / "whole").read_bytes()))
    path.write_bytes(content)
    try:
        found = potentials.read_setfl(path)
    except Exception as error:
        refused(error, path)
        return
    assert content[-1:].isspace()
    embeddings, given, pairs = blocks_of(content.decode("utf-8", "replace"))
    np.testing.assert_allclose(found.embedding_table[..., 3], embeddings[:, :-1], rtol=1e-12)
    by_receiver = np.swapaxes(np.asarray(found.density_table[..., 3]), 0, 1)
    np.testing.assert_allclose(by_receiver, given[..., :-1], rtol=1e-12)
    first, second = np.tril_indices(len(given))
    for table, values in zip(np.asarray(found.pair_table)[first, second], pairs, strict=True):
        sane = np.abs(values[:-1]) < 1e6  # What is beyond stands for a hard core.
        np.testing.assert_allclose(table[sane, 3], values[:-1][sane], rtol=1e-12)
        assert np.isfinite(table).all()


@fuzzed
@given(draws=st.data())
def test_archives(glass, tmp_path, draws):
    path = tmp_path / "a.npz"
    if not (tmp_path / "whole.npz").exists():
        archives.save_archive(
            tmp_path / "whole.npz", io.structure_arrays(glass), {"rate": 1e10, "name": "é"}
        )
    content = draws.draw(mutations.damaged((tmp_path / "whole.npz").read_bytes(), text=False))
    path.write_bytes(content)
    try:
        arrays, kept = archives.load_archive(path)
        found = io.read(path)
    except Exception as error:
        refused(error, path)
        return
    assert kept == {"rate": 1e10, "name": "é"} and set(arrays) == set(io.structure_arrays(glass))
    np.testing.assert_array_equal(found.fractional, glass.fractional)
    np.testing.assert_array_equal(found.cell, glass.cell)


@fuzzed
@given(draws=st.data())
def test_records(tmp_path, draws):
    path, wanted = tmp_path / "config.json", {"seed": 0, "rate": 5e13, "dense": [16], "on": True}
    archives.write_record(path, {**wanted, "preset": "smoke"})
    content = draws.draw(mutations.damaged(path.read_bytes()))
    path.write_bytes(content)
    try:
        found = archives.read_record(path)
    except Exception as error:
        refused(error, path)
        return
    # Where the digest itself is lost the rest has to speak for itself: JSON of an object.
    if b'"sha256"' in content:
        assert found == {**wanted, "preset": "smoke"}
    else:
        assert found == json.loads(content)


@pytest.mark.slow
@fuzzed
@given(draws=st.data())
def test_checkpoints(tmp_path, draws):
    path = tmp_path / "model" / "network.npz"
    if not (tmp_path / "whole").exists():
        checkpoints.save(tmp_path / "model", _trained())
        path.rename(tmp_path / "whole")
    path.write_bytes(draws.draw(mutations.damaged((tmp_path / "whole").read_bytes(), text=False)))
    try:
        found = checkpoints.load(tmp_path / "model")
    except Exception as error:
        refused(error, path)
        return
    assert found.config == _trained().config and found.history == _trained().history


_KEPT: list[training.TrainResult] = []


def _trained() -> training.TrainResult:
    """A network of the smallest shape, trained once."""
    if not _KEPT:
        rng = np.random.default_rng(0)
        cell = 9.0 * np.eye(3)
        glass = Structure.create(rng.random((12, 3)), cell, np.zeros(12, int), ("Cu",))
        pairs = np.array([[n, (n + 1) % 12] for n in range(12)])
        graph = graphs.build(
            glass, rng.random((12, 3)), np.arange(12) == 2, np.concatenate([pairs, pairs[:, ::-1]])
        )
        config = training.TrainConfig(
            model=gat.Config(1, 2, 1, dense=(4,)), epochs=2, select_by="loss"
        )
        _KEPT.append(training.train([graph], [graph], config))
    return _KEPT[0]


def test_no_pickle_is_ever_loaded(tmp_path):
    """An archive with an object in it, as NumPy would unpickle it if it were allowed to."""
    meta = np.array(json.dumps({"schema": 1, "settings": {}}))
    np.savez(tmp_path / "a.npz", meta=meta, evil=np.array([{"x": 1}], dtype=object))
    with pytest.raises(archives.Damaged, match="allow_pickle=False"):
        archives.load_archive(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", np.array([{"x": 1}], dtype=object))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    with pytest.raises(archives.Damaged):
        archives.load_archive(tmp_path / "b.npz")
