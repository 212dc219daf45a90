"""Read YAML files: settings, sources, strategies, scenarios and the dbt project's descriptions.

All of them are read by the same rules: plain values only, no key twice, bounded in depth and in what aliases stand for.
Every error names the file and, where there is one, the line.

Not here: what the values mean. Who reads a file checks that (`settings`, `events.source`, `segments.strategy`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from seg_assets.core.errors import ConfigError

# The largest file of ours holds 17 kB and nests 7 deep. Nine aliases of nine aliases, nine times over, would be
# gigabytes when they are shown, and libyaml's own composer overflows the stack of C at 200,000 open brackets.
MOST_CHARACTERS = 1_000_000
MOST_LEVELS = 50
# Tags of keys that are what is written: texts, and `<<`.
PLAIN = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")

# libyaml's reads the 150 columns of user_profiles ten times faster; both are the safe ones.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):
    """Load plain values only; an impossible one (the 30th of February) is an error with its place, like any other."""


def _with_place(construct: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Wrap a constructor of the loader, so that its errors name the line."""

    def construct_or_place(loader: Any, node: yaml.ScalarNode) -> Any:
        try:
            return construct(loader, node)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            why = f" ({str(error)[:100]})" if isinstance(error, ValueError) else ""
            kind = node.tag.rpartition(":")[2].replace("timestamp", "date")
            problem = f"{str(node.value)[:100]!r} is no {kind}{why}; put it in quotes if it is a text"
            raise _error(node, problem) from None

    return construct_or_place


for _kind in ("bool", "int", "float", "timestamp"):
    _tag = f"tag:yaml.org,2002:{_kind}"
    _Loader.add_constructor(_tag, _with_place(_Safe.yaml_constructors[_tag]))


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds: None when it is empty.

    Raises:
        ConfigError: naming the file, the line and what is wrong there.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(MOST_CHARACTERS + 1)
        if len(data) > MOST_CHARACTERS:
            raise ConfigError(f"{path}: cannot be read as YAML: more than {MOST_CHARACTERS:,} bytes")
        text = data.decode("utf-8-sig")
        _check_levels(text)
        return _load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join(part for part in (error.context, error.problem, error.note) if part)
        raise ConfigError(f"{path}{place}: cannot be read as YAML: {problem}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None


def _check_levels(text: str) -> None:
    """Refuse a text nested too deep before it is composed, which recurses; parsing alone does not."""
    levels = 0
    for event in yaml.parse(text, Loader=_Loader):
        levels += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if levels > MOST_LEVELS:
            raise _error(event, f"nested more than {MOST_LEVELS} deep")


def _load(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_node(loader, node, 1, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_node(loader: Any, node: yaml.Node, level: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Measure a node with its aliases written out: characters and levels. `known` has those of nodes seen before."""
    if isinstance(node, yaml.ScalarNode):
        return len(node.value) + 1, 0
    characters, levels = known.get(id(node), (0, 0))
    if level + levels > MOST_LEVELS:
        raise _error(node, f"nested more than {MOST_LEVELS} deep, or an alias inside what it stands for")
    if characters:
        return characters, levels
    children = node.value
    if isinstance(node, yaml.MappingNode):
        _check_keys(loader, node)
        children = [value for _, value in node.value]
        characters = sum(len(key.value) + 1 for key, _ in node.value)
    for child in children:
        inner, below = _check_node(loader, child, level + 1, known)
        characters += inner
        levels = max(levels, below)
    if characters > MOST_CHARACTERS:
        raise _error(node, f"more than {MOST_CHARACTERS:,} characters when its aliases (*name) are written out")
    known[id(node)] = characters + 1, levels + 1
    return known[id(node)]


def _check_keys(loader: Any, node: yaml.MappingNode) -> None:
    """Refuse a key written twice, of which YAML would silently keep the last, and keys that are no plain values."""
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _error(key_node, "a key must be a plain text or number")
        key = key_node.value if key_node.tag in PLAIN else loader.construct_object(key_node)
        if key in seen:
            raise _error(key_node, f"key {key!r} twice")
        seen.add(key)


def _error(at: yaml.Node | yaml.Event, problem: str) -> yaml.MarkedYAMLError:
    # The stubs have two types for the mark of one thing.
    mark: Any = at.start_mark
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
