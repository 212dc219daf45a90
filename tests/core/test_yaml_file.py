"""One reader for every YAML file: what it refuses, and that it says where."""

import pytest

from seg_assets.core.errors import ConfigError
from seg_assets.core.settings import Settings
from seg_assets.core.yaml_file import MOST_CHARACTERS, read_yaml
from seg_assets.events.source import load_source
from seg_assets.segments.strategy import read_strategy
from seg_assets.simulator.config import read_scenario

READERS = {
    "settings": lambda file: Settings.from_env({"SEG_ASSETS_SETTINGS": str(file)}),
    "source": load_source,
    "strategy": read_strategy,
    "scenario": read_scenario,
}
NINE = ", ".join(["*{0}"] * 9)
STEPS = list(zip("abcdefghij", "bcdefghijk", strict=True))
BOMB = "a: &a [x]\n" + "".join(f"{b}: &{b} [{NINE.format(a)}]\n" for a, b in STEPS)
MERGED = "a: &a {x: 1}\n" + "".join(f"{b}: &{b} {{<<: [{NINE.format(a)}]}}\n" for a, b in STEPS)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))

WRONG = [
    ("title: t\nday: 2024-02-30\n", "line 2, column 6.*'2024-02-30' is no date"),
    ("day: 2024-01-01 25:00:00\n", "line 1.*no date"),
    ("seed: 1\nk: {a: 1}\nseed: 2\n", "line 3.*key 'seed' twice"),
    ("k:\n  a: 1\n  a: 1\n", "line 3.*key 'a' twice"),
    ("1: a\n0x1: b\n", "line 2.*key 1 twice"),
    ("? [a]\n: 1\n", "line 1.*a key must be"),
    ("home: " + "[" * 5_000, "line 1.*nested more than 50"),
    ("- " * 200_000 + "a", "line 1.*nested more than 50"),
    ("a: &a [*a]\n", "an alias inside what it stands for"),
    (CHAIN, "nested more than 50"),
    (BOMB, "aliases.* are written out"),
    (MERGED, "aliases.* are written out"),
    ("seed: " + "9" * 5_000, "line 1.*no int"),
    ("a: !!int x\n", "line 1.*'x' is no int"),
    ("a: !!timestamp x\n", "line 1.*'x' is no date"),
    ("a: !!python/object:os.system x\n", "line 1.*could not determine a constructor"),
    ("name: [\n", "line 2"),
    ("a: 1\n---\na: 2\n", "line 2.*another document"),
    (b"name: \xfc\n", "utf-8"),
    ("a: \x01\n", "control characters"),
    ("a: " + "x" * MOST_CHARACTERS, "more than 1,000,000 bytes"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[str(n) for n in range(len(WRONG))])
@pytest.mark.parametrize("kind", READERS)
def test_promise_11_wrong_yaml_of_every_kind_is_refused_with_file_and_line(tmp_path, kind, text, said):
    """Some of these were tracebacks, some hung for minutes, and of a key written twice the last one counted."""
    file = tmp_path / "mine.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=rf"mine\.yaml(?=.*cannot be read as YAML: ).*{said}"):
        READERS[kind](file)


def test_plain_yaml_is_read_as_ever_also_with_anchors_and_a_byte_order_mark(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: &a {x: 1, y: 2024-02-29}\nb: {<<: *a, x: yes}\nc: [*a, 1.5, ~]\n")
    a = {"x": 1, "y": read_yaml(file)["a"]["y"]}
    assert a["y"].isoformat() == "2024-02-29"
    assert read_yaml(file) == {"a": a, "b": {**a, "x": True}, "c": [a, 1.5, None]}
    file.write_text("")
    assert read_yaml(file) is None
    # A merged key is no key written twice, wherever the mapping it comes from is used again.
    file.write_text("c:\n  d: &d {<<: {z: 1}, z: 2}\ne: {<<: *d, q: 1}\n")
    assert read_yaml(file) == {"c": {"d": {"z": 2}}, "e": {"z": 2, "q": 1}}
