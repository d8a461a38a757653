"""Networks: a file for each, and the registry of them.

A file holds a frozen dataclass `Config` of `setting` fields, which are the flags of the model, and
a flax module whose only attribute is `config`. It takes a graph and `train` to logits
(num_nodes, 2), padding included; random numbers come from the key "dropout".
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from stzjax.learning.models import gat

Config = Any
"""Shape of a network: an instance of one of the classes in `MODELS`."""


class Model(NamedTuple):
    """A model of the registry.

    Attributes:
      config: class of its settings, a frozen dataclass.
      network: class of the flax module, made from such settings.
    """

    config: type
    network: type[nn.Module]


MODELS = {
    "gat": Model(gat.Config, gat.GAT),
}
"""The models by the names that `--model` takes."""


def name_of(config: Config) -> str:
    """Name of the model that a configuration belongs to."""
    return {model.config: name for name, model in MODELS.items()}[type(config)]


def network(config: Config) -> Any:
    """The flax module of a configuration."""
    return MODELS[name_of(config)].network(config)


def of_record(name: str, record: Mapping[str, Any]) -> Config:
    """The configuration that was written as a record, in which tuples are lists.

    Raises:
      KeyError: the model is not in the registry.
      TypeError: the record is of another version.
    """
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    return MODELS[name].config(**values)


def reshaped(config: Config, changes: Mapping[str, Any]) -> Config:
    """The configuration with other values of some fields.

    Raises:
      ValueError: the model has no such field.
    """
    missing = set(changes) - {field.name for field in dataclasses.fields(config)}
    if missing:
        raise ValueError(f"model {name_of(config)} has no {', '.join(sorted(missing))}")
    return dataclasses.replace(config, **changes)
