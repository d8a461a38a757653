"""Text of `--help`, and the line about a flag that cannot be read, for all scripts on `--out`."""

import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

flags.disclaim_key_flags()  # Those that are made here belong to the script that asks for them.

_WIDTH, _INDENT = 100, 30
"""Columns of the text, and the column at which the help of a flag begins."""

HELP = ("--help", "-help", "-h", "-?", "--helpshort")

LISTS = {int: "whole numbers", float: "numbers", str: "names"}
"""How the items of a list are called."""


class ListParser(flags.ArgumentParser):
    """Parser of items of one type, separated by commas.

    Attributes:
      kind: int, float or str.
    """

    def __init__(self, kind: type):
        """Parser of items of this type."""
        self.kind = kind
        self.syntactic_help = f"{LISTS[kind]} separated by commas"

    def parse(self, argument: Any) -> tuple[Any, ...]:
        """The items; ValueError for an item that is not of the type."""
        if not isinstance(argument, str):
            return tuple(argument)
        return tuple(self.kind(item.strip()) for item in argument.split(",") if item.strip())


def define_list(name: str, default: Any, text: str, kind: type = str) -> flags.FlagHolder:
    """A flag that takes items of one type, separated by commas."""
    return flags.DEFINE(ListParser(kind), name, default, text, serializer=flags.ListSerializer(","))


def unreadable(error: flags.Error) -> str:
    """One line that names the flag, what it takes, and what was given."""
    said = " ".join(str(error).split())
    found = re.match(r"flag --(\w+)=(.*?): ", said)
    if not found:
        return f"{said[0].lower()}{said[1:].rstrip('.')}; see --help"
    name, value = found.groups()
    return f"--{name} takes {_takes(flags.FLAGS[name])}, got {value!r}"


def _takes(flag: Any) -> str:
    if flag.boolean:
        return "true or false"
    if isinstance(flag.parser, flags.EnumParser):
        return f"one of {', '.join(flag.parser.enum_values)}"
    return flag.parser.syntactic_help or "text"


def page(
    text: str, values_of: str, groups: Mapping[str, Sequence[str]], defaults: Mapping[str, Any]
) -> str:
    """The whole of `--help`.

    Args:
      text: docstring of the script.
      values_of: where the values shown come from.
      groups: names of the flags under each heading.
      defaults: values of the flags that have none of their own.
    """
    lines = [text.strip(), "", f"Flags; the values shown are those of {values_of}."]
    for title, names in groups.items():
        if names:
            lines += ["", f"{title}:"]
        for name in names:
            lines += _entry(name, defaults)
    return "\n".join(lines)


def _entry(name: str, defaults: Mapping[str, Any]) -> list[str]:
    flag = flags.FLAGS[name]
    value = defaults.get(name, flag.default)
    head = f"  --[no]{name}" if flag.boolean else f"  --{name}={_shown(value)}"
    text = textwrap.wrap(_text(flag, value), _WIDTH - _INDENT)
    pad = " " * _INDENT
    if len(head) < _INDENT - 1:
        return [f"{head:{_INDENT}}{text[0]}", *(pad + line for line in text[1:])]
    return [*_folded(head), *(pad + line for line in text)]


def _folded(head: str) -> list[str]:
    """A flag and its value in lines that end between two items of a list."""
    lines = [""]
    for piece in re.findall("[^,]+,?", head):
        if len(lines[-1]) + len(piece) > _WIDTH:
            lines.append(" " * 6)
        lines[-1] += piece
    return lines


def _text(flag: Any, value: Any) -> str:
    """Help text of a flag, with its choices."""
    more = ""
    if isinstance(flag.parser, flags.EnumParser):
        more = ", ".join(flag.parser.enum_values)
    elif flag.boolean and value is not None:
        more = "on" if value else "off"
    text = re.sub(r"^<[^>]*>: ", "", flag.help)
    return f"{text.rstrip('.')} ({more})." if more else text


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_shown, value))
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return "" if value is None else str(value)


def own_flags() -> list[str]:
    """Names of the flags of the script alone, those of a study included."""
    known = flags.FLAGS.flags_by_module_dict()
    return [flag.name for place in (sys.argv[0], "study") for flag in known.get(place, [])]
