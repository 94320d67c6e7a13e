"""Plain values into settings: pydantic validates, and what it finds wrong is said in the protocol's own words."""

import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rsd_med.base.errors import ProtocolError
from rsd_med.base.kinds import Kinds
from rsd_med.protocol.suggestion import suggest

Model = TypeVar("Model", bound=BaseModel)

_MOST_PROBLEMS = 20
_LONGEST_VALUE = 60

# Pydantic's error types in the words of someone who writes YAML; `{limit}` and the like come from its context.
_SENTENCES = {
    "missing": "is required",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text; put it in quotes",
    "path_type": "must be a path",
    "list_type": "must be a list, [a, b]",
    "tuple_type": "must be a list, [a, b]",
    "dict_type": "must be a group of keys",
    "model_type": "must be a group of keys",
    "model_attributes_type": "must be a group of keys",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "none_required": "must be null",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have {max_length} or fewer characters",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "too_short": "must have {min_length} or more items, not {actual_length}",
    "too_long": "must have {max_length} or fewer items, not {actual_length}",
}
# What was written says nothing here: it is missing, a whole group, or counted in the sentence already.
_WITHOUT_VALUE = {"missing", "too_short", "too_long", "value_error", "assertion_error"}


def check(model: type[Model], values: Mapping[str, Any], source: str) -> Model:
    """Build settings from plain values.

    Parameters
    ----------
    model
        The settings class.
    values
        What the protocol says, keys to plain values.
    source
        What to call it in errors, usually the file's name.

    Raises
    ------
    ProtocolError
        One sentence for each thing wrong, with its key: ``student.loss.alpha: must be at least 0 (got -1)``.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = explain(model, error)
    if len(problems) == 1:
        raise ProtocolError(f"{source}: {problems[0]}") from None
    shown = problems[:_MOST_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    raise ProtocolError("\n  ".join([f"{source}: {len(problems)} things are wrong:", *shown])) from None


def explain(model: type[BaseModel], error: ValidationError) -> list[str]:
    """Say what is wrong, one sentence for each key, in the order of the settings."""
    sentences: dict[str, list[str]] = {}
    values: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        path, types = _locate(model, detail["loc"])
        key, sentence = _explain_one(path, types, detail)
        known = sentences.setdefault(key, [])
        if sentence not in known:
            known.append(sentence)
        if detail["type"] not in _WITHOUT_VALUE and detail["type"] in _SENTENCES:
            values.setdefault(key, _got(detail["input"]))
        if detail["type"] == "too_short" and any(other.startswith(f"{key}.") for other in sentences):
            del sentences[key]  # pydantic counts the good items; that some are not good is said already
    return [
        (f"{key}: " if key else "") + _either(alternatives) + values.get(key, "")
        for key, alternatives in sentences.items()
    ]


def _explain_one(path: list[str], types: list[Any], detail: ErrorDetails) -> tuple[str, str]:
    """Return the key a problem belongs to and the sentence about it, without the value."""
    kind, context = detail["type"], detail.get("ctx", {})
    kinds = _kinds(types)
    if kind == "extra_forbidden":
        fields = [name for model in _models(types) for name in model.model_fields]
        return ".".join(path), f"there is no such key{suggest(path[-1], fields, list_all=True)}"
    if kind == "union_tag_invalid":
        tag = str(context["tag"])
        near = suggest(tag, kinds)
        return ".".join([*path, "kind"]), f"there is no kind `{tag}`{near or ''}; kinds: {', '.join(kinds)}"
    if kind == "union_tag_not_found":
        return ".".join([*path, "kind"]), f"is required, one of: {', '.join(kinds)}"
    if kind in ("model_type", "model_attributes_type") and len(kinds) > 1:
        return ".".join(path), f"must be a group of keys with a `kind`, one of: {', '.join(kinds)}"
    if kind in ("value_error", "assertion_error"):
        return ".".join(path), str(context["error"]) if "error" in context else detail["msg"]
    if kind in _SENTENCES:
        limits = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in context.items()}
        return ".".join(path), _SENTENCES[kind].format(**limits)
    return ".".join(path), detail["msg"][:1].lower() + detail["msg"][1:]


def _either(sentences: Sequence[str]) -> str:
    """Join what the members of a union ask for: must be a whole number or 'auto'."""
    first, *rest = sentences
    return " or ".join([first, *(sentence.removeprefix("must be ") for sentence in rest)])


def _got(value: object) -> str:
    """Show a single value as it was understood; a group of keys is left out."""
    if isinstance(value, Mapping | list | tuple):
        return ""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return f" (got {text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + '…'})"


def _locate(model: type[BaseModel], location: Iterable[int | str]) -> tuple[list[str], list[Any]]:
    """Follow pydantic's location through the settings classes.

    Pydantic's path also names the union members it tried (``data``, ``noise``, ``sigma``): what is no key in the YAML
    is left out of the returned path. Also returned are the types that may stand where the path ends, or, for a key
    that does not exist, where it would have stood.
    """
    path: list[str] = []
    types: list[Any] = [model]
    for part in location:
        if isinstance(part, int):
            path.append(str(part))
            types = [item for kind in types for item in _items(kind)]
            continue
        named = [kind for kind in _models(types) if part in (*_kinds([kind]), kind.__name__)]
        if named and len(_models(types)) > 1:
            types = named
            continue
        fields = [kind.model_fields[part] for kind in _models(types) if part in kind.model_fields]
        if fields:
            path.append(part)
            types = [member for field in fields for member in _members(field.annotation, field.metadata)]
        elif mappings := [kind for kind in types if get_origin(kind) is dict]:
            path.append(part)
            types = [member for kind in mappings for member in _members(get_args(kind)[1])]
        elif _models(types):
            path.append(part)
    return path, types


def _members(annotation: Any, metadata: Iterable[Any] = ()) -> list[Any]:
    """Take an annotation apart: the listed kinds or the members of a union, without None."""
    for note in metadata:
        if isinstance(note, Kinds):
            return list(note.values())
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        return _members(inner, notes)
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    return [] if annotation is type(None) else [annotation]


def _items(annotation: Any) -> list[Any]:
    """Return the types of the items of a list or tuple."""
    if get_origin(annotation) not in (list, tuple):
        return []
    return [member for part in get_args(annotation) if part is not Ellipsis for member in _members(part)]


def _models(types: Iterable[Any]) -> list[type[BaseModel]]:
    """Return the settings classes among types."""
    return [kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _kinds(types: Iterable[Any]) -> list[str]:
    """Return the values of ``kind`` that tell the settings classes among types apart."""
    fields = [model.model_fields["kind"] for model in _models(types) if "kind" in model.model_fields]
    return [
        str(tag) for field in fields if get_origin(field.annotation) is Literal for tag in get_args(field.annotation)
    ]
