"""HTML that is escaped by construction: only `tag` makes markup, and it escapes whatever is not markup already."""

import html

_VOID = {"img", "meta", "br", "col"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """Write one element.

    Parameters
    ----------
    name
        The element.
    children
        `Markup` is taken as it is, any other text is escaped, None is left out.
    attributes
        An underscore at the end is dropped and others become hyphens: ``class_``, ``stroke_width``. None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*parts: str | None) -> Markup:
    """Put parts one after the other, escaped where they are not markup."""
    return Markup(
        "".join(part if isinstance(part, Markup) else html.escape(part) for part in parts if part is not None)
    )
