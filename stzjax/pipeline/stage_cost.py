"""Cost of a stage: time and memory."""

import contextlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

_MIB = 2.0**20


@contextlib.contextmanager
def measured() -> Iterator[dict[str, float]]:
    """A record that is filled when the block ends, however it ends.

    It holds "seconds" of wall time; "peak_mib", the peak memory of the process, of this block alone
    if the system can tell (Linux), else since the process began; "device_peak_mib", the peak of the
    fullest device since the process began, if the device can tell.
    """
    found: dict[str, float] = {}
    # 5 makes Linux forget the peak so far. It is not allowed everywhere.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    try:
        yield found
    finally:
        found["seconds"] = time.perf_counter() - started
        found["peak_mib"] = peak() / _MIB
        told = [device.memory_stats() or {} for device in jax.local_devices()]
        if largest := max(stats.get("peak_bytes_in_use", 0) for stats in told):
            found["device_peak_mib"] = largest / _MIB


def peak(process: str = "self") -> float:
    """Largest resident memory of a process so far, by its number or "self" [bytes]."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024.0 * float(line.split()[1])
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def add(total: dict[str, Any], found: dict[str, float]) -> dict[str, float]:
    """Sum of two costs: times add up, of memory the largest is kept."""
    largest = {name: max(total.get(name, 0.0), value) for name, value in found.items()}
    return {**largest, "seconds": total.get("seconds", 0.0) + found["seconds"]}


def text(found: dict[str, float]) -> str:
    """Text of a cost for a log."""
    memory = f"{found['seconds']:.1f} s, peak memory {found['peak_mib']:.0f} MiB"
    device = found.get("device_peak_mib")
    return memory if device is None else f"{memory}, of a device {device:.0f} MiB"
