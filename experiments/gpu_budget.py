"""What the compiled programs cost on a GPU that is not there: kernels, bytes, memory.

    pip install -e '.[gpu-budget]'; python experiments/gpu_budget.py --glass=GLASS

XLA compiles for the named card without a device. Bytes are the operands and results of every
kernel of one step, which is the body of the outer loop, or the whole program where that is a step;
loops inside the body, such as the search for neighbours, are entered rarely and not counted. The
ceiling is what the card's bandwidth would allow: no forecast, since gathers are counted once each
and launches not at all.
"""

import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
from absl import app, flags
from gpu_programs import Program, lowered, programs
from jax.experimental import topologies

from stzjax import io, potentials

_GLASS = flags.DEFINE_string("glass", None, "Relaxed glass.", required=True)
_POTENTIAL = flags.DEFINE_string("potential", "mendelev2019", "Built-in name or setfl file.")
_LANES = flags.DEFINE_integer("lanes", 64, "Places of the batches.", lower_bound=1)
_CARD = flags.DEFINE_enum("card", "H100", ["H100", "H200"], "Card to compile for.")
_ONLY = flags.DEFINE_string("only", "", "Regular expression of the programs to compile.")
_OUT = flags.DEFINE_string("out", "", "JSON file of the table; none if empty.")

_BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12}
"""Of the data sheets, NVIDIA 2023 and 2024 [bytes/s]."""

_MEMORY = {"H100": 84929347584, "H200": 150754820096}
"""[bytes]."""

_CONFIG = """
gpu_device_info {{ threads_per_block_limit: 1024 threads_per_warp: 32 core_count: 132
 shared_memory_per_block: 49152 shared_memory_per_core: 233472 threads_per_core_limit: 2048
 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
 block_dim_limit_z: 65535 memory_bandwidth: {bandwidth} l2_cache_size: 52428800
 clock_rate_ghz: 1.98 device_memory_size: {memory} shared_memory_per_block_optin: 232448
 cuda_compute_capability {{ major: 9 }} registers_per_core_limit: 65536
 registers_per_block_limit: 65536 }}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }}
runtime_version {{ major: 12 minor: 9 }} device_description_str: "NVIDIA {card}"
"""

_FREE = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "iota"}
_CONTROL = {"while", "conditional", "call", "partition-id"}
"""Instructions of a program that launch no kernel of their own."""

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(\S+) = (.*?) ([a-z][\w-]*)\(([^)]*)\)(.*)$")
_ARRAY = re.compile(r"\b(pred|bf16|[sufc]\d+)\[([\d,]*)\]")


class Cost(NamedTuple):
    """Cost of one step of a program.

    Attributes:
      kernels: launches.
      gigabytes: operands and results of all of them [GB].
      temporary: memory beside arguments and results [MB].
      registers: most of any thread.
      spilled: bytes that the threads of all kernels keep in memory for want of registers.
    """

    kernels: int
    gigabytes: float
    temporary: float
    registers: int = 0
    spilled: int = 0


def compiled(program: Program, device):
    """The program compiled for a device that is not there."""
    sharding = jax.sharding.SingleDeviceSharding(device)

    def there(x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return lowered(program._replace(args=jax.tree.map(there, program.args))).compile()


def size_of(shape: str) -> int:
    """Bytes of the arrays in the text of a shape."""
    bits = 0
    for kind, sides in _ARRAY.findall(shape):
        width = 8 if kind == "pred" else int(re.sub(r"\D", "", kind))
        bits += math.prod(map(int, filter(None, sides.split(",")))) * width
    return bits // 8


def _named(role: str, text: str) -> str:
    """The computation that an instruction calls in a role."""
    return re.findall(role + r"=%?([\w.-]+)", text)[0]


def computations(text: str) -> dict[str, list[re.Match]]:
    """Instructions of each computation of a compiled program; that of the entry is "ENTRY"."""
    found: dict[str, list[re.Match]] = {}
    name = ""
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            name = "ENTRY" if line.startswith("ENTRY") else line.split()[0].lstrip("%")
            found[name] = []
        elif name and (match := _INSTRUCTION.match(line)):
            found[name].append(match)
    return found


def cost(text: str, temporary: int, whole: bool = False) -> Cost:
    """The cost of one step, from the text of a compiled program and its memory [bytes].

    A step is the body of the largest outer loop, or the whole program with each loop once.
    """
    parts = computations(text)
    sizes = {m[1]: size_of(m[2]) for part in parts.values() for m in part}

    def counted(name: str) -> tuple[int, int]:
        kernels = total = 0
        for instruction in parts[name]:
            if instruction[3] in _FREE:
                continue
            if instruction[3] == "call":
                inner = counted(_named("to_apply", instruction[5]))
                kernels, total = kernels + inner[0], total + inner[1]
            elif instruction[3] == "while" and whole:
                inner = counted(_named("body", instruction[5]))
                kernels, total = kernels + inner[0], total + inner[1]
            elif instruction[3] not in _CONTROL:
                operands = re.findall(r"%([\w.-]+)", instruction[4])
                kernels += 1
                total += sizes[instruction[1]] + sum(sizes.get(x, 0) for x in operands)
        return kernels, total

    loops = [m for m in parts["ENTRY"] if m[3] == "while" and not whole]
    bodies = [_named("body", m[5]) for m in loops]
    kernels, total = max(map(counted, bodies or ["ENTRY"]), key=lambda found: found[1])
    return Cost(kernels, total / 1e9, temporary / 1e6)


def assembler() -> str:
    """Path of ptxas, on the PATH or in NVIDIA's wheel.

    Raises:
      ValueError: there is none.
    """
    parts = importlib.util.find_spec("nvidia")
    places = list(parts.submodule_search_locations or ()) if parts else []
    wheels = os.pathsep.join(f"{place}/cuda_nvcc/bin" for place in places)
    found = shutil.which("ptxas") or shutil.which("ptxas", path=wheels)
    if found is None:
        raise ValueError("no ptxas here: pip install -e '.[gpu-budget]'")
    return found


def registers(folder: Path) -> tuple[int, int]:
    """Most registers of a thread and bytes spilled, of the PTX in a folder, which is emptied."""
    used, spilled = [0], [0]
    for path in folder.rglob("*.ptx"):
        if not path.read_text().strip():
            continue
        card = re.findall(r"^\.target (\w+)", path.read_text(), re.MULTILINE)[0]
        command = [assembler(), "-v", f"-arch={card}", str(path), "-o", os.devnull]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        used += map(int, re.findall(r"Used (\d+) registers", said))
        spilled += map(int, re.findall(r"(\d+) bytes spill stores", said))
    shutil.rmtree(folder)
    folder.mkdir()
    return max(used), sum(spilled)


def main(argv):
    """Print the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    folder = tempfile.TemporaryDirectory()
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder.name}"
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    card, bandwidth = _CARD.value, _BANDWIDTH[_CARD.value]
    config = _CONFIG.format(card=card, bandwidth=int(bandwidth), memory=_MEMORY[card])
    topology = topologies.get_topology_desc(
        card.lower(), "cuda", target_config=config, topology="1x1x1"
    )
    glass = io.read(_GLASS.value)
    every = programs(glass, potentials.load(_POTENTIAL.value), _LANES.value)
    print("| program | kernels | GB | temporary MB | ceiling, ms | registers | spilled, bytes |")
    print("|---|---|---|---|---|---|---|")
    rows = {}
    for name, program in every.items():
        if not re.search(_ONLY.value, name):
            continue
        made = compiled(program, topology.devices[0])
        found = cost(made.as_text(), made.memory_analysis().temp_size_in_bytes, program.whole)
        most, spilled = registers(Path(folder.name))
        found = found._replace(registers=most, spilled=spilled)
        rows[name] = found._asdict()
        ceiling = 1e12 * found.gigabytes / bandwidth
        print(
            f"| {name} | {found.kernels} | {found.gigabytes:.3f} | {found.temporary:.0f} "
            f"| {ceiling:.3f} | {most} | {spilled} |",
            flush=True,
        )
    if _OUT.value:
        Path(_OUT.value).write_text(json.dumps({"card": card, "programs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
