"""The kinds of one sort of part: a list of names, each imported when it is asked for.

Settings classes, the JSON schema, the choices of commands and the app's lists all read such a list. A new kind is one
new file, with its settings class and its code, and one line in the list of its sort (the ``kinds.py`` of its room).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Base = TypeVar("Base")


@dataclass(frozen=True)
class Kind:
    """One line of a list.

    Attributes
    ----------
    name
        The value of ``kind``.
    place
        Where the settings class is: ``package.module:Class``.
    title
        What people are shown; empty: the name.
    """

    name: str
    place: str
    title: str = ""


class Kinds(Mapping[str, type[Base]]):
    """The settings classes of one sort by name, as a mapping and as the annotation of a settings field.

    ``Annotated[SamplerSettings, SAMPLERS]`` takes the settings of any listed sampler, told apart by ``kind``. Names and
    titles are there without an import of the classes, so that ``--help`` stays quick.

    Parameters
    ----------
    kinds
        The list, in the order in which it is shown.
    default
        The kind that is meant where a protocol leaves ``kind`` out; None: it must name one.
    """

    def __init__(self, *kinds: Kind, default: str | None = None) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self.default = default

    # A list is itself and no other: comparing two would import all of their kinds.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, name: str) -> type[Base]:
        """Import and return the settings class of a kind; KeyError where there is none of that name."""
        module, _, attribute = self._kinds[name].place.partition(":")
        settings: type[Base] = getattr(import_module(module), attribute)
        return settings

    def __iter__(self) -> Iterator[str]:
        """Return the names in their order."""
        return iter(self._kinds)

    def __len__(self) -> int:
        """Return how many kinds there are."""
        return len(self._kinds)

    @property
    def titles(self) -> dict[str, str]:
        """What people are shown for each name."""
        return {name: kind.title or name for name, kind in self._kinds.items()}

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """Make a field of this annotation a union of the kinds."""
        from pydantic import BeforeValidator, Field

        listed: Any = Union[tuple(self.values())]  # noqa: UP007
        return handler.generate_schema(Annotated[listed, Field(discriminator="kind"), BeforeValidator(self._completed)])

    def _completed(self, given: object) -> object:
        """Add the default kind to options that name none."""
        return {"kind": self.default} | given if self.default and isinstance(given, dict) else given
