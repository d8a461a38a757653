"""A setting of a configuration: default, help text and limits in one place."""

import dataclasses
from collections.abc import Sequence
from typing import Any


def setting(default: Any, text: str, choices: Sequence[str] = ()) -> Any:
    """A dataclass field that carries its help text, from which a flag can be made.

    Args:
      default: value of the field where none is given.
      text: help text of the flag; units in brackets.
      choices: the values that a text may have; empty for any.
    """
    return dataclasses.field(default=default, metadata={"help": text, "choices": tuple(choices)})
