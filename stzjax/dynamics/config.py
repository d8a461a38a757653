"""Settings of melt and quench."""

import dataclasses

from stzjax.core import units
from stzjax.core.settings import check, setting
from stzjax.dynamics.npt import Ensemble

_MOST_SNAPSHOTS, _MOST_STEPS = 1e7, 2e9
"""More are a slip of the pen; steps are counted in 32 bits."""


@dataclasses.dataclass(frozen=True)
class MeltConfig:
    """Settings of the melt; the defaults are the paper's."""

    num_atoms: int = setting(10_000, "Atoms of a specimen.", limits="[1, inf)")
    elements: tuple[str, ...] = setting(
        ("Cu", "Zr"), "Elements of the alloy; the potential must know them."
    )
    fractions: tuple[float, ...] = setting(
        (0.64, 0.36), "Share of each element; the atoms are rounded.", limits="(0, 1]"
    )
    num_specimens: int = setting(75, "Glasses to make.", limits="[1, inf)")
    melt_temperature: float = setting(2000.0, "Temperature of the liquid [K].", limits="(0, inf)")
    pressure: float = setting(0.0, "Pressure of melt and quench [GPa].")
    equilibration_time: float = setting(
        10.0, "Time before the first snapshot [ps].", limits="[0, inf)"
    )
    melt_time: float = setting(
        10_000.0, "Time during which snapshots are taken [ps].", limits="(0, inf)"
    )
    snapshot_interval: float = setting(
        10.0, "Time between snapshots of the liquid [ps].", limits="(0, inf)"
    )
    timestep: float = setting(0.002, "Time step of the dynamics [ps].", limits="(0, inf)")
    thermostat_time: float = setting(0.2, "Period of the thermostat [ps].", limits="(0, inf)")
    barostat_time: float = setting(2.0, "Period of the barostat [ps].", limits="(0, inf)")
    # Both run on a prepared potential: a closed form of high powers loses 0.02 eV/Å to
    # cancellation in float32.
    precision: str = setting("float64", "Precision of the dynamics.", ("float32", "float64"))
    engine: str = setting(
        "own",
        "Integrator and minimiser: this library's, or those of jax-md as a reference.",
        ("own", "jax_md"),
    )
    skin: float = 0.8
    """Margin of the neighbour list, in units of the potential's length, for speed alone."""

    @property
    def ensemble(self) -> Ensemble:
        """Constants of the dynamics."""
        pressure = self.pressure / units.GPA
        times = self.timestep, pressure, self.thermostat_time, self.barostat_time
        return Ensemble(*times, self.engine)

    @property
    def num_snapshots(self) -> int:
        """Snapshots taken of the liquid."""
        return int(self.melt_time / self.snapshot_interval + 1e-9)

    def steps(self, time: float) -> int:
        """Time steps in a time [ps]."""
        return max(1, round(time / self.timestep))

    def validate(self) -> None:
        """Raise ValueError for settings that make no sense, each by itself or together."""
        check(self)
        self._check_composition()
        if self.engine == "jax_md" and self.precision != "float64":
            raise ValueError("engine jax_md takes precision float64 alone")
        if not self.melt_time / self.snapshot_interval < _MOST_SNAPSHOTS:
            raise ValueError(
                f"melt_time {self.melt_time} ps holds too many snapshots every "
                f"{self.snapshot_interval} ps; lengthen snapshot_interval"
            )
        if not max(self.equilibration_time, self.melt_time) / self.timestep < _MOST_STEPS:
            raise ValueError(
                f"melt_time {self.melt_time} ps or equilibration_time {self.equilibration_time} ps "
                f"takes too many steps of timestep {self.timestep} ps; shorten it"
            )
        if self.num_snapshots < self.num_specimens:
            raise ValueError(
                f"{self.num_specimens} specimens need as many snapshots, but {self.melt_time} ps "
                f"of melt hold {self.num_snapshots}; lengthen melt_time or shorten "
                "snapshot_interval"
            )

    def _check_composition(self) -> None:
        if not self.elements or len(set(self.elements)) < len(self.elements):
            raise ValueError(
                f"elements must name each element of the alloy once, got {','.join(self.elements)}"
            )
        if len(self.fractions) != len(self.elements) or abs(sum(self.fractions) - 1.0) > 1e-6:
            raise ValueError(
                f"fractions must give each of {', '.join(self.elements)} a share and add up to 1, "
                f"got {', '.join(map(str, self.fractions))}"
            )


@dataclasses.dataclass(frozen=True)
class QuenchConfig(MeltConfig):
    """Settings of the quench, and of the melt that it begins with."""

    final_temperature: float = setting(
        300.0, "Temperature at which the quench ends [K].", limits="(0, inf)"
    )
    quench_rate: float = setting(1e10, "Cooling rate [K/s].", limits="(0, inf)")
    relax_cell: bool = setting(
        False, "Relax the quenched glass to zero stress, cell included, and not the atoms alone."
    )

    @property
    def quench_steps(self) -> int:
        """Time steps from the melt to the final temperature."""
        span = self.melt_temperature - self.final_temperature
        return max(1, round(span / (self.quench_rate * 1e-12 * self.timestep)))

    def validate(self) -> None:
        """Raise ValueError for settings that make no sense, each by itself or together."""
        super().validate()
        if self.final_temperature >= self.melt_temperature:
            raise ValueError(
                f"final_temperature {self.final_temperature} K must lie below melt_temperature "
                f"{self.melt_temperature} K"
            )
        kelvins = self.melt_temperature - self.final_temperature
        if not kelvins < _MOST_STEPS * self.quench_rate * 1e-12 * self.timestep:
            raise ValueError(
                f"quench_rate {self.quench_rate} K/s takes too many steps of timestep "
                f"{self.timestep} ps; raise it"
            )
