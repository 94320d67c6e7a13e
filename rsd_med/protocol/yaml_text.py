"""Protocol text and plain Python values: a YAML without its traps, read and written.

YAML as protocols use it: mappings with text keys, lists, and scalars of YAML 1.2's core schema, so that ``1e-4`` is a
number and ``no`` is a word. Refused: duplicate keys (PyYAML keeps the last in silence), anchors and aliases (a few
hundred bytes can unfold to gigabytes), tags (they name Python types), and files that are too large or too deep.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from rsd_med.base.errors import ProtocolError
from rsd_med.protocol.packaged import PROTOCOLS, packaged_names
from rsd_med.protocol.suggestion import suggest

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20

_TAG = "tag:yaml.org,2002:"
# YAML 1.2's core schema, and underscores between digits (images: 2_000_000). First characters are PyYAML's index.
_SCALARS = (
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("int", re.compile(r"^[-+]?[0-9][0-9_]*$"), "-+0123456789"),
    (
        "float",
        re.compile(r"^(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$", re.I),
        "-+.0123456789",
    ),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a protocol file into plain values; ProtocolError as `read_text` and `parse_mapping` say."""
    return parse_mapping(read_text(path), path.name)


def read_text(path: Path) -> str:
    """Read the text of a protocol file; of a pipe, as a shell's ``<(…)`` is, that can be done once.

    Raises
    ------
    ProtocolError
        If the file is missing, unreadable, no UTF-8 text or larger than 256 KB.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ProtocolError(f"{path}: there is no such protocol file{_others(path)}") from None
    except IsADirectoryError:
        raise ProtocolError(f"{path}: is a folder; name a protocol file (*.yaml)") from None
    except OSError as error:
        raise ProtocolError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from None
    if len(content) > MAX_BYTES:
        raise ProtocolError(
            f"{path.name}: larger than {MAX_BYTES // 1024} KB; a protocol is a few hundred lines at most"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ProtocolError(f"{path.name}, line {line}: not UTF-8 text; is this a protocol file?") from None


def parse_mapping(text: str, source: str) -> dict[str, Any]:
    """Read protocol text into a dictionary of plain values (str, int, float, bool, None, lists, dictionaries).

    Parameters
    ----------
    text
        YAML.
    source
        What to call it in errors, usually the file's name.

    Raises
    ------
    ProtocolError
        With the line, if the text is no such YAML, uses what is refused here, is empty or is no mapping.
    """
    value = parse_value(text, source)
    if value is None:
        raise ProtocolError(f"{source}: is empty; {PROTOCOLS / 'quickstart.yaml'} is a complete protocol")
    if not isinstance(value, dict):
        raise ProtocolError(f"{source}: must hold `key: value` lines, not {_describe(value)}")
    return value


def parse_value(text: str, source: str) -> Any:
    """Read any one value: what `parse_mapping` reads, or a list or a scalar (the right-hand side of an override)."""
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except _RefusedError as error:
        raise ProtocolError(f"{source}, {error}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = "holds a control character; is this a text file?"
        if "\ud800" <= text[error.position] <= "\udfff":  # how Python keeps bytes of a command line that are no text
            what = "is not UTF-8; rename the file or folder that it names"
        raise ProtocolError(f"{source}, line {line}: {what}") from None
    except yaml.MarkedYAMLError as error:
        wide = "; the text holds a full-width colon, which is none here" if "\uff1a" in text else ""
        raise ProtocolError(f"{source}, {_explain(error)}{wide}") from None


def write_yaml(values: dict[str, Any]) -> str:
    """Write plain values as protocol text, in their order; `parse_mapping` reads it back to equal values."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


class _RefusedError(Exception):
    """YAML that is well formed but refused here; the message begins with the line."""

    def __init__(self, mark: yaml.Mark, sentence: str) -> None:
        super().__init__(f"line {mark.line + 1}: {sentence}")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without anchors, tags, merge keys, duplicate keys, dates and YAML 1.1's surprises."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse what is refused here, event by event, before anything of it is built."""
        event = self.peek_event()
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError(mark, f"an alias (*name) is not allowed in a protocol; if text is meant, {_QUOTES}")
        if getattr(event, "anchor", None) is not None:
            raise _RefusedError(
                mark, "an anchor (&name) is not allowed in a protocol; put the text in quotes if meant so"
            )
        if getattr(event, "tag", None) is not None:
            raise _RefusedError(mark, "a tag (!name) is not allowed in a protocol; put the text in quotes if meant so")
        if self.depth >= MAX_DEPTH:
            raise _RefusedError(mark, f"nested more than {MAX_DEPTH} levels deep")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse keys that stand twice and keys that are no text."""
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise _RefusedError(
                    key_node.start_mark, "a key must be a word; put it in quotes if it is meant as text"
                )
            if key in lines:
                raise _RefusedError(key_node.start_mark, f"the key `{key}` stands twice (first in line {lines[key]})")
            lines[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave `<<` alone: without aliases there is nothing to merge."""

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Read a whole number in base ten: 010 is ten."""
        try:
            return int(node.value.replace("_", ""))
        except ValueError:
            raise _RefusedError(node.start_mark, "this number has too many digits") from None

    def construct_float(self, node: yaml.ScalarNode) -> float:
        """Read a number with a point or an exponent, ``.inf`` or ``.nan`` (which settings refuse by name later)."""
        text = node.value.replace("_", "").lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """Writes text that this loader, and any YAML 1.1 reader, reads back as the same values."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that occurs twice out twice."""
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Write text; Unicode's line breaks only survive as escapes inside double quotes."""
        style = '"' if any(char in text for char in "\x85\u2028\u2029") else None
        return self.represent_scalar(_TAG + "str", text, style=style)

    def represent_items(self, items: list[Any]) -> yaml.SequenceNode:
        """Write a list of single values in one line."""
        single = all(not isinstance(item, list | dict) for item in items)
        return self.represent_sequence(_TAG + "seq", items, flow_style=single)


for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, list(_first))
    # On top of YAML 1.1's rules: text that either would read as something else gets its quotes.
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, list(_first))
_Loader.add_constructor(_TAG + "int", _Loader.construct_int)
_Loader.add_constructor(_TAG + "float", _Loader.construct_float)
_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(list, _Dumper.represent_items)


_UNEXPLAINED = "is not valid YAML; are quotes missing, or a bracket?"
_QUOTES = "put it in quotes: include: '*.nii.gz' in a file, --set 'data.include=\"*.nii.gz\"' in a shell"
_EXPLANATIONS = (
    (r"'\\t'", "indented with a tab; use spaces"),
    ("scanning an alias", f"a value cannot begin with `*`; {_QUOTES}"),
    ("scanning an anchor", "a value cannot begin with `&`; put it in quotes"),
    ("scanning a tag|tag handle", "a value cannot begin with `!`; put it in quotes"),
    ("scanning a directive|directive", "a line cannot begin with `%`; put the text in quotes"),
    ("scanning a block scalar", "after `|` or `>` the text begins in the next line; put it in quotes if meant so"),
    (
        "escape character|escape sequence",
        "in double quotes a backslash begins an escape; use single quotes, or / in a path",
    ),
    (r"could not find expected ':'", "a line without `key: value`; is the `: ` missing, or are quotes?"),
    (
        "mapping values are not allowed",
        "a `:` where none is expected; is the indentation right, or are quotes missing?",
    ),
    ("mapping keys are not allowed", "a `?` where no key can stand; put it in quotes"),
    ("sequence entries are not allowed", "a `-` where no item of a list can stand; is it in a line of its own?"),
    ("<document start>", "a value cannot begin with `%`, and nothing can follow its end; put it in quotes"),
    ("another document|document separator", "a second document (`---`); a protocol file holds one"),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("stream end|end of stream", "the text ends inside quotes or brackets"),
    (r"expected ',' or '[]}]'", "inside brackets a comma is missing, or the bracket that closes"),
    ("expected the node content", "a value is missing, or stands where none can be"),
    (r"found character ('.*?') that cannot start", r"a value cannot begin with \1; put it in quotes"),
)
"""What PyYAML's words mean, the first that fits."""


def _explain(error: yaml.MarkedYAMLError) -> str:
    """Put PyYAML's complaint into ``line N: sentence``."""
    mark = error.problem_mark or error.context_mark
    words = " ".join(f"{error.context or ''}: {error.problem or ''}".split())
    problem = next(
        (fit.expand(sentence) for pattern, sentence in _EXPLANATIONS if (fit := re.search(pattern, words))),
        _UNEXPLAINED,
    )
    return f"line {mark.line + 1}: {problem}" if mark is not None else problem


def _describe(value: object) -> str:
    """Name what stands where a mapping is wanted."""
    return "a list" if isinstance(value, list) else f"the single value {value!r}"[:60]


def _others(path: Path) -> str:
    """Suggest a protocol of a similar name in the same folder, or one of those that need no path."""
    packaged = f"; those that need no path are: {', '.join(packaged_names())}"
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
    except OSError:
        return f"; there is no folder {path.parent} either{packaged}"
    return suggest(path.name, names) or suggest(path.name, packaged_names()) or packaged
