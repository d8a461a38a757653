"""A setting of a configuration: default, help text, choices and limits in one place.

A configuration is a frozen dataclass. Its fields made by `setting` are the settings of a run: the
flags of the scripts, the entries of `config.json` and the checks all follow from them.
"""

import dataclasses
import math
import typing
from collections.abc import Iterable
from typing import Any


def setting(
    default: Any, text: str, choices: Iterable[str] = (), *, limits: str = "", flag: str | None = ""
) -> Any:
    """A dataclass field that is a setting.

    Args:
      default: value of the field where none is given.
      text: help text of the flag; units in brackets.
      choices: the values that a text may have; empty for any.
      limits: interval of a number, or of each number of a tuple, such as "(0, 1]" or "[1, inf)".
      flag: name of the flag where it is not that of the field; None: there is none.
    """
    metadata = {"help": text, "choices": tuple(choices), "limits": limits, "flag": flag}
    return dataclasses.field(default=default, metadata=metadata)


def settings_of(config: Any) -> dict[str, dataclasses.Field]:
    """The settings of a configuration, or of its class, by the names of their flags."""
    fields = [f for f in dataclasses.fields(config) if f.metadata.get("flag") is not None]
    return {field.metadata["flag"] or field.name: field for field in fields}


def item_type(config: type, name: str) -> type | None:
    """Type of the items of a field that is a tuple; None for any other field."""
    found = typing.get_type_hints(config)[name]
    return typing.get_args(found)[0] if typing.get_origin(found) is tuple else None


def check(config: Any) -> None:
    """Raise ValueError for the first setting that has no sensible value by itself."""
    for field in dataclasses.fields(config):
        if "limits" not in field.metadata:
            continue
        value, name = getattr(config, field.name), field.metadata["flag"] or field.name
        choices, limits = field.metadata["choices"], field.metadata["limits"]
        if choices and isinstance(value, str) and value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float):
                _check_number(name, number, limits)


def _check_number(name: str, number: float, limits: str) -> None:
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    if isinstance(number, int) and abs(number) >= 2**31:
        raise ValueError(f"{name} must be less than 2147483648, got {number}")
    if not limits:
        return
    low, high = map(float, limits[1:-1].split(","))
    above = number > low or (limits[0] == "[" and number == low)
    below = number < high or (limits[-1] == "]" and number == high)
    if not (above and below):
        raise ValueError(f"{name} must {_described(limits)}, got {number}")


def _described(limits: str) -> str:
    """The condition of the limits, in words that follow "must"."""
    if limits == "(0, inf)":
        return "be positive"
    if limits == "[0, inf)":
        return "not be negative"
    if limits.endswith("inf)"):
        return f"be {limits[1:].split(',')[0]} or more"
    return f"lie in {limits}"
