"""Sums over a half list that numba compiles: densities of the atoms, then their forces.

The bonds of one atom at a time go through short buffers: their vectors and lengths, in a loop that
LLVM turns into vector instructions; the numbers of those within reach; the pieces of the potential,
all functions of a bond from one record in memory; and the sums of both atoms. Atoms stand in the
order of the list, in which neighbours are close in memory.

A length is counted in pieces of the potential. Nothing is read outside the arrays, whatever the
list and the species hold.
"""

import math

import numpy as np
from numba import uint32, uint64

from stzjax.numerics.foreign import (
    four_cubics,
    introduced,
    operand,
    part,
    push,
    result,
    two_cubics,
)

_ROW = 512
"""Bonds in a buffer; a longer row is taken in parts."""


@part
def fits(order, starts, pairs):
    """Whether a list names only atoms and pairs that are there."""
    num_atoms, wrong = uint32(len(order)), len(starts) != 2 * len(order) + 1
    for i in range(len(order)):
        wrong |= uint32(order[i]) >= num_atoms
    before = starts[0]
    for n in range(len(starts)):
        wrong |= starts[n] < before
        before = starts[n]
    if wrong or starts[0] < 0 or before > len(pairs):
        return False
    for n in range(before):
        wrong |= uint32(pairs[n]) >= num_atoms
    return not wrong


@part
def _bonds(place, i, pairs, begin, many, cell, per_length, limit, dx, dy, dz, length, inside):
    """Vectors and lengths of the bonds of an atom; how many are shorter than the limit, and which.

    Args:
      place: (4 N,) three fractional components of each atom, and where the pieces of its species
        begin.
      i: the atom.
      pairs: neighbours of all atoms.
      begin: where those of this row begin.
      many: their number, at most `_ROW`.
      cell: (9,) [Å].
      per_length: pieces per Å.
      limit: pieces.
      dx: (_ROW,) buffer of the vectors' components [Å].
      dy: the same.
      dz: the same.
      length: (_ROW,) buffer of the lengths [pieces].
      inside: (_ROW,) buffer of the numbers in the row.
    """
    x, y, z = place[4 * i], place[4 * i + 1], place[4 * i + 2]
    xx, xy, xz, yy, yz, zz = cell[0], cell[1], cell[2], cell[4], cell[5], cell[8]
    many = uint32(many)
    for k in range(many):
        j = 4 * uint64(uint32(pairs[begin + k]))
        dx[k], dy[k], dz[k] = place[j] - x, place[j + 1] - y, place[j + 2] - z
    for k in range(many):
        x, y, z = dx[k], dy[k], dz[k]
        x, y, z = x - np.rint(x), y - np.rint(y), z - np.rint(z)
        x = xx * x + xy * y + xz * z
        y = yy * y + yz * z
        z = zz * z
        dx[k], dy[k], dz[k] = x, y, z
        length[k] = math.sqrt(x * x + y * y + z * z) * per_length
    found = uint32(0)
    for k in range(many):
        inside[found] = k
        # A length that is not a number counts, so that it shows in the result.
        found += uint32(0) if length[k] >= limit else uint32(1)
    return found


@part
def _record(length, limit, kind):
    """Number of the record of a bond, and the place in its piece; that of zeros if not a number."""
    piece = np.floor(length) if length < limit else limit
    return uint64(uint32(np.int32(piece + kind))), length - piece


@part
def sort(fractional, species, order, scales, place):
    """Atoms in the order of the list, see `_bonds` for `place`."""
    num_atoms, last = len(order), np.int64(scales[3]) - 1
    for i in range(num_atoms):
        atom = order[i]
        for side in range(3):
            place[4 * i + side] = fractional[3 * atom + side]
        place[4 * i + 3] = min(max(np.int64(species[atom]), 0), last) * (scales[2] + 1)


@part
def densities(place, cell, scales, records, starts, pairs, density):
    """Densities of the atoms, (N,).

    Args:
      place: (4 N,) see `_bonds`.
      cell: (9,) [Å].
      scales: (4,) pieces per Å; pieces within reach of the densities; pieces of a pair of species;
        species.
      records: cubics of ρ(r) of the atom and of its neighbour; 8 numbers a record.
      starts: (2 N + 1,) where near and far neighbours of each atom begin in `pairs`.
      pairs: (E,) neighbours.
      density: (N,) result.
    """
    x, y, z = np.empty(_ROW, place.dtype), np.empty(_ROW, place.dtype), np.empty(_ROW, place.dtype)
    length = np.empty(_ROW, place.dtype)
    inside, value = np.empty(_ROW, np.uint32), np.empty(2 * _ROW, place.dtype)
    density[:] = 0
    per_length, reach, limit, species = scales[0], scales[1], scales[2], scales[3]
    for i in range(len(density) if reach > 0 else 0):
        kind = place[4 * i + 3] * species
        end = starts[2 * i + 1]
        for begin in range(starts[2 * i], end, _ROW):
            begin, many = uint64(begin), min(end - begin, _ROW)
            found = _bonds(
                place, i, pairs, begin, many, cell, per_length, reach, x, y, z, length, inside
            )
            for n in range(found):
                k = inside[n]
                j = uint64(uint32(pairs[begin + k]))
                at, t = _record(length[k], limit, kind + place[4 * j + 3])
                two_cubics(records, 8 * at, t, value, uint64(2 * n))
            mine = density[i]
            for n in range(found):
                mine += value[2 * n]
                density[uint32(pairs[begin + inside[n]])] += value[2 * n + 1]
            density[i] = mine


@part
def _pulls(place, rise, i, kind, limit, records, pairs, begin, found, inside, length, value, pull):
    """(dE/dr) / r of the bonds of an atom that densities reach; their lengths move together."""
    mine = rise[i]
    for n in range(found):
        k = inside[n]
        j, r = uint64(uint32(pairs[begin + k])), length[k]
        at, t = _record(r, limit, kind + place[4 * j + 3])
        four_cubics(records, 16 * at, t, value, uint64(4 * n))
        pull[n], length[n] = rise[j], r
    for n in range(found):
        pull[n] = value[4 * n] + mine * value[4 * n + 1] + pull[n] * value[4 * n + 2]


@part
def _far_pulls(place, kind, limit, records, pairs, begin, found, inside, length, pull):
    """The same of bonds that have a pair term alone."""
    for n in range(found):
        k = inside[n]
        r = length[k]
        at, t = _record(r, limit, kind + place[4 * uint64(uint32(pairs[begin + k])) + 3])
        at = 4 * at
        total = records[at + 3] * t + records[at + 2]
        pull[n], length[n] = (total * t + records[at + 1]) * t + records[at], r


@part
def forces(place, rise, cell, scales, records, far_records, starts, pairs, force):
    """Forces on the atoms, (4 N,) of which every fourth number is arbitrary [eV/Å]; virial's trace.

    Args:
      place: (4 N,) see `_bonds`.
      rise: (N,) dF/dρ of the atoms [eV].
      cell: (9,) [Å].
      scales: see `densities`.
      records: cubics of φ'(r)/r, of ρ'(r)/r of the atom and of its neighbour, and of nothing; 16
        numbers a record.
      far_records: cubics of φ'(r)/r alone; 4 numbers a record.
      starts: see `densities`.
      pairs: (E,) neighbours.
      force: result.

    Returns:
      Σ r ∂E/∂r over the bonds [eV].
    """
    x, y, z = np.empty(_ROW, place.dtype), np.empty(_ROW, place.dtype), np.empty(_ROW, place.dtype)
    length, pull = np.empty(_ROW, place.dtype), np.empty(_ROW, place.dtype)
    inside, own = np.empty(_ROW, np.uint32), np.empty(16, place.dtype)
    value = np.empty(4 * _ROW, place.dtype)
    trace = 0.0
    force[:] = 0
    per_length, reach, limit, species = scales[0], scales[1], scales[2], scales[3]
    for row in range(2 * len(rise)):
        i = row // 2
        kind = place[4 * i + 3] * species
        far = row % 2 == 1 or reach == 0
        if starts[row] == starts[row + 1]:
            continue
        own[:] = 0
        for begin in range(starts[row], starts[row + 1], _ROW):
            begin, many = uint64(begin), min(starts[row + 1] - begin, _ROW)
            found = _bonds(
                place, i, pairs, begin, many, cell, per_length, limit, x, y, z, length, inside
            )
            if far:
                _far_pulls(
                    place, kind, limit, far_records, pairs, begin, found, inside, length, pull
                )
            else:
                _pulls(
                    place,
                    rise,
                    i,
                    kind,
                    limit,
                    records,
                    pairs,
                    begin,
                    found,
                    inside,
                    length,
                    value,
                    pull,
                )
            work = place.dtype.type(0)
            for n in range(found):
                work += pull[n] * length[n] * length[n]
            trace += work
            for n in range(found):
                k, w = inside[n], pull[n]
                j = 4 * uint64(uint32(pairs[begin + k]))
                # Four places in turn: the sum need not wait for the one before.
                push(own, uint64(4 * (n & 3)), force, j, w * x[k], w * y[k], w * z[k])
        for side in range(3):
            force[4 * i + side] += own[side] + own[4 + side] + own[8 + side] + own[12 + side]
    return trace / (per_length * per_length)


def _densities_handler(dtype):
    def densities_of(frame):
        if introduced(frame):
            return 0
        order, starts = operand(frame, 0, np.int32), operand(frame, 1, np.int32)
        pairs, cell = operand(frame, 2, np.int32), operand(frame, 3, dtype)
        scales, records = operand(frame, 4, dtype), operand(frame, 5, dtype)
        fractional, species = operand(frame, 6, dtype), operand(frame, 7, np.int32)
        density, place = result(frame, 0, dtype), result(frame, 1, dtype)
        if not fits(order, starts, pairs):
            density[:] = np.nan
            place[:] = np.nan
            return 0
        in_order = np.empty(len(order), dtype)
        sort(fractional, species, order, scales, place)
        densities(place, cell, scales, records, starts, pairs, in_order)
        for i in range(len(order)):
            density[order[i]] = in_order[i]
        return 0

    return densities_of


def _forces_handler(dtype):
    def forces_of(frame):
        if introduced(frame):
            return 0
        order, starts = operand(frame, 0, np.int32), operand(frame, 1, np.int32)
        pairs, cell = operand(frame, 2, np.int32), operand(frame, 3, dtype)
        scales, records = operand(frame, 4, dtype), operand(frame, 5, dtype)
        far_records, place = operand(frame, 6, dtype), operand(frame, 7, dtype)
        rise = operand(frame, 8, dtype)
        force, trace = result(frame, 0, dtype), result(frame, 1, np.float64)
        if not fits(order, starts, pairs):
            force[:] = np.nan
            trace[0] = np.nan
            return 0
        own_rise, total = np.empty(len(order), dtype), np.empty(4 * len(order), dtype)
        for i in range(len(order)):
            own_rise[i] = rise[order[i]]
        trace[0] = forces(place, own_rise, cell, scales, records, far_records, starts, pairs, total)
        for i in range(len(order)):
            # A position that is not a number shows, even if the atom has no neighbours.
            blank = (place[4 * i] + place[4 * i + 1] + place[4 * i + 2]) * 0
            for side in range(3):
                force[3 * order[i] + side] = total[4 * i + side] + blank
        return 0

    return forces_of


HANDLERS = {
    name: {"densities": _densities_handler(dtype), "forces": _forces_handler(dtype)}
    for name, dtype in (("float64", np.float64), ("float32", np.float32))
}
