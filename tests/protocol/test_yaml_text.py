"""Protocol text: what it reads, what it refuses and how it says so, and writing it back."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsd_med.base.errors import ProtocolError
from rsd_med.protocol.yaml_text import MAX_BYTES, parse_mapping, parse_value, read_yaml, write_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("2E6", 2e6),
        (".5", 0.5),
        ("-1.", -1.0),
        ("2_000_000", 2_000_000),
        ("010", 10),
        ("-3", -3),
        ("true", True),
        ("FALSE", False),
        ("no", "no"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1e-4'", "1e-4"),
        ("2026-11-20", "2026-11-20"),
        ("12:30:45", "12:30:45"),
        ("0x10", "0x10"),
        ("=", "="),
        ("[1, 2.5, x]", [1, 2.5, "x"]),
        ("{a: {b: [true]}}", {"a": {"b": [True]}}),
        ("$FASTMRI_ROOT/knee", "$FASTMRI_ROOT/knee"),
        ("~/data", "~/data"),
    ],
)
def test_values_are_read_as_a_person_means_them(text, value):
    found = parse_value(text, "test")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml, line 3: the key `a` stands twice (first in line 1)"),
        ("a:\n  b: 1\n  b: 2", "f.yaml, line 3: the key `b` stands twice (first in line 2)"),
        ("a: &x 1\nb: *x", "f.yaml, line 1: an anchor"),
        ("b: *x", "f.yaml, line 1: an alias"),
        ("a: !!python/object/apply:os.system [ls]", "f.yaml, line 1: a tag"),
        ("a: !unknown 1", "f.yaml, line 1: a tag"),
        ("a:\n\tb: 1", "f.yaml, line 2: indented with a tab; use spaces"),
        ("a: b: c", "f.yaml, line 1: a `:` where none is expected"),
        ("a: 1\n---\nb: 2", "f.yaml, line 2: a second document"),
        ("", "f.yaml: is empty"),
        ("# only a comment\n", "f.yaml: is empty"),
        ("- 1", "f.yaml: must hold `key: value` lines, not a list"),
        ("word", "f.yaml: must hold `key: value` lines, not the single value 'word'"),
        ("1: 2", "f.yaml, line 1: a key must be a word"),
        ("? [a]\n: b", "f.yaml, line 1: a key must be a word"),
        ("a: " + "9" * 5000, "f.yaml, line 1: this number has too many digits"),
        ("a: 1\nb: \x00", "f.yaml, line 2: holds a control character"),
        ("a: 1\nb: M\udcfcller", "f.yaml, line 2: is not UTF-8; rename"),
        ("a: 'x", "f.yaml, line 1: the text ends inside quotes or brackets"),
        ("a: [1, 2", "f.yaml, line 1: the text ends inside quotes or brackets"),
        ("include: *_T1w.nii.gz", "f.yaml, line 1: a value cannot begin with `*`; put it in quotes"),
        ("include: *.nii", "f.yaml, line 1: a value cannot begin with `*`; put it in quotes"),
        ("include: *T1w", "f.yaml, line 1: an alias (*name) is not allowed in a protocol; if text is meant, put it in"),
        ("a: &.x y", "f.yaml, line 1: a value cannot begin with `&`"),
        ('root: "C:\\data"', "f.yaml, line 1: in double quotes a backslash begins an escape"),
        (
            "root\uff1ax\nb: 1",
            "f.yaml, line 2: a `:` where none is expected; is the indentation right, or are quotes "
            "missing?; the text holds a full-width colon",
        ),
        ("- - a\nb", "f.yaml, line 2: a line without `key: value`"),
        ("a: |x", "f.yaml, line 1: after `|`"),
        ("a: [}", "f.yaml, line 1: a value is missing"),
        ("a: @x", "f.yaml, line 1: a value cannot begin with '@'"),
        ("a:\n  - 1\n b: 2", "f.yaml, line 3: the indentation does not fit"),
        ("[" * 100_000, "f.yaml, line 1: nested more than 20 levels deep"),
        ("{a: " * 21, "f.yaml, line 1: nested more than 20 levels deep"),
    ],
)
def test_refused_text_is_named_by_line_in_one_sentence(text, sentence):
    with pytest.raises(ProtocolError) as caught:
        parse_mapping(text, "f.yaml")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_an_alias_bomb_is_refused_before_it_unfolds():
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(ProtocolError, match="anchor"):
        parse_mapping(bomb, "bomb.yaml")


def test_a_merge_key_is_a_key_like_any_other():
    assert parse_mapping("<<: {a: 1}\nb: 2", "f.yaml") == {"<<": {"a": 1}, "b": 2}


class TestFiles:
    def test_a_file_is_read(self, tmp_path: Path):
        path = tmp_path / "p.yaml"
        path.write_bytes("\ufeffname: Knie µ\n".encode())
        assert read_yaml(path) == {"name": "Knie µ"}

    def test_a_missing_file_suggests_its_neighbour(self, tmp_path: Path):
        (tmp_path / "quickstart.yaml").write_text("name: x")
        with pytest.raises(ProtocolError, match=r"no such protocol file; did you mean `quickstart.yaml`\?"):
            read_yaml(tmp_path / "quikstart.yaml")
        with pytest.raises(ProtocolError, match="there is no folder"):
            read_yaml(tmp_path / "nowhere" / "quickstart.yaml")

    def test_what_is_no_text_file_is_refused(self, tmp_path: Path):
        with pytest.raises(ProtocolError, match="is a folder"):
            read_yaml(tmp_path)
        binary = tmp_path / "scan.h5"
        binary.write_bytes(b"a\n\x89HDF\r\n\x1a\n\xff\xfe")
        with pytest.raises(ProtocolError, match=r"scan.h5, line 2: not UTF-8 text"):
            read_yaml(binary)

    def test_an_oversized_file_is_refused(self, tmp_path: Path):
        path = tmp_path / "p.yaml"
        path.write_text("#" * (MAX_BYTES + 1))
        with pytest.raises(ProtocolError, match="larger than 256 KB"):
            read_yaml(path)


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1), _plain, min_size=1, max_size=4))
def test_whatever_is_written_reads_back_equal(values):
    assert parse_mapping(write_yaml(values), "written") == values


@pytest.mark.parametrize(
    "text", ["1e-4", "no", "on", "010", "0x10", "2026-11-20", "1_000", "~", "null", ".5", "<<", "="]
)
def test_text_that_looks_like_something_else_is_quoted(text):
    assert parse_mapping(write_yaml({"name": text}), "written") == {"name": text}


def test_order_is_kept_and_repeated_values_are_written_out():
    shared = [1, 2]
    text = write_yaml({"z": shared, "a": shared})
    assert "&" not in text
    assert list(parse_mapping(text, "written")) == ["z", "a"]


def test_no_words_of_the_parser_come_through():
    """Random text of YAML's own marks: what is refused is refused in this program's words."""
    draw = random.Random(0)
    words = re.compile("expected|found|scanning|parsing|token|alphabetic|chomping|scalar|node")
    for _ in range(3000):
        text = "".join(draw.choice("a b:-?[]{}&*!|>%@`\"'\\\t\n,#1.") for _ in range(draw.randrange(1, 14)))
        refusal = ""
        try:
            parse_value(text, "f")
        except ProtocolError as error:
            refusal = str(error).replace("where none is expected", "")
        assert not words.search(refusal), text
