"""What an operator is made of: its tensors, its other settings and its parts; selecting, stacking, moving, storing."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor


class MadeOfTensors:
    """An object that is rebuilt from its constructor's arguments, some of which are tensors with a batch of items.

    A subclass names its constructor's arguments, and keeps each as an attribute of the same name.
    """

    item_tensors: ClassVar[dict[str, int]] = {}
    """The tensors, each with the number of dimensions it has without its batch."""

    settings: ClassVar[tuple[str, ...]] = ()
    """The arguments that are no tensors; they say what the object is, so objects that differ in them do not stack."""

    parts: tuple[Any, ...] = ()
    """Other such objects, which the constructor takes first."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that `rebuilt` needs, those of part number n under ``n.name``."""
        own = {name: getattr(self, name) for name in self.item_tensors}
        return own | {
            f"{n}.{name}": tensor for n, part in enumerate(self.parts) for name, tensor in part.state().items()
        }

    def structure(self) -> dict[str, Any]:
        """Return what `rebuilt` needs besides the tensors, as JSON holds it: kind, settings, and those of the parts."""
        return {
            "kind": type(self).__name__,
            "settings": {name: getattr(self, name) for name in self.settings},
            "parts": [part.structure() for part in self.parts],
        }

    @property
    def device(self) -> torch.device | None:
        """Where the tensors lie; None without tensors, which works anywhere."""
        return next((tensor.device for tensor in self.state().values()), None)

    @property
    def items(self) -> int | None:
        """The number of items in the batch; None if every item is served alike."""
        sizes = (len(tensor) for name, tensor in self.state().items() if tensor.ndim > self._dimensions(name))
        return next(sizes, None)

    def to(self, device: torch.device | str) -> Self:
        """Return the object with its tensors on a device."""
        return self.with_tensors(lambda tensor: tensor.to(device))

    def with_tensors(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the object with ``change(tensor)`` in place of every tensor."""
        return self._changed(lambda tensor, batched: change(tensor))

    def __getitem__(self, index: slice | Tensor) -> Self:
        """Select items of the batch; tensors without a batch dimension are shared and stay.

        Raises
        ------
        TypeError
            If ``index`` is neither a slice nor a tensor: a plain number would drop the batch dimension.
        """
        require_batch_index(index)
        return self.with_items(lambda tensor: tensor[index])

    def with_items(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the object with ``change(tensor)`` in place of every tensor that has a batch."""
        return self._changed(lambda tensor, batched: change(tensor) if batched else tensor)

    @classmethod
    def cat(cls, members: Sequence[Any]) -> Self:
        """Stack the batches of objects of one type and with the same settings.

        Tensors without a batch are shared where they are equal; objects without any are one where they are the same.

        Raises
        ------
        ValueError
            If there is none, or if they differ in anything but the batch.
        """
        if not members:
            raise ValueError("There is no operator to stack.")
        first = members[0]
        kinds = {type(member) for member in members}
        if len(kinds) > 1:
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(f"Operators of different types cannot be stacked: {names}.")
        if not isinstance(first, cls):
            raise ValueError(f"A {type(first).__name__} cannot be stacked as {cls.__name__}.")
        for name in first.settings:
            values = [getattr(member, name) for member in members]
            if any(value != values[0] for value in values):
                different = " and ".join(map(str, dict.fromkeys(values)))
                raise ValueError(
                    f"A {type(first).__name__} with {name} {different} cannot be stacked: one operator has one {name}."
                )
        if len({len(member.parts) for member in members}) > 1:
            raise ValueError(f"A {type(first).__name__} cannot be stacked with one of another number of parts.")
        tensors = {
            name: first._stacked(name, [getattr(member, name) for member in members]) for name in first.item_tensors
        }
        parts = [MadeOfTensors.cat(column) for column in zip(*(member.parts for member in members), strict=True)]
        return first._rebuild(tensors, parts)

    def _stacked(self, name: str, tensors: list[Tensor]) -> Tensor:
        first, ndim = tensors[0], self.item_tensors[name]
        if all(tensor.ndim == ndim and tensor.equal(first) for tensor in tensors):
            return first
        if any(tensor.ndim <= ndim for tensor in tensors) or len({tensor.shape[1:] for tensor in tensors}) > 1:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors[:4])
            raise ValueError(
                f"The {name} of {type(self).__name__} must differ in the batch alone to be stacked, not {shapes}."
            )
        return torch.cat(tensors)

    def _dimensions(self, name: str) -> int:
        """Return the dimensions that a tensor of `state` has without its batch."""
        part, _, rest = name.partition(".")
        return self.parts[int(part)]._dimensions(rest) if rest else self.item_tensors[name]

    def _changed(self, change: Callable[[Tensor, bool], Tensor]) -> Self:
        """Return the object with other tensors, each made of the old one and of whether that has a batch."""
        if not self.item_tensors and not self.parts:
            return self
        tensors = {name: getattr(self, name) for name in self.item_tensors}
        changed = {name: change(tensor, tensor.ndim > self.item_tensors[name]) for name, tensor in tensors.items()}
        return self._rebuild(changed, [part._changed(change) for part in self.parts])

    def _rebuild(self, tensors: dict[str, Tensor], parts: Sequence[Any]) -> Self:
        return type(self)(*parts, **{name: getattr(self, name) for name in self.settings}, **tensors)


def rebuilt(structure: dict[str, Any], state: dict[str, Tensor], base: type[MadeOfTensors]) -> Any:
    """Return the object that `MadeOfTensors.structure` and `MadeOfTensors.state` describe.

    Parameters
    ----------
    structure, state
        What those returned.
    base
        A class that the kind of the object is derived from.

    Raises
    ------
    ValueError
        If there is no such kind, or if its tensors are missing or do not fit.
    """
    kinds = {kind.__name__: kind for kind in _descendants(base)}
    kind = kinds.get(structure["kind"])
    if kind is None:
        raise ValueError(f"There is no operator {structure['kind']!r}.")
    parts = []
    for number, part in enumerate(structure["parts"]):
        prefix = f"{number}."
        own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        parts.append(rebuilt(part, own, base))
    tensors = {name: tensor for name, tensor in state.items() if "." not in name}
    if set(tensors) != set(kind.item_tensors):
        raise ValueError(
            f"A {structure['kind']} is made of {', '.join(kind.item_tensors)}, not of {', '.join(tensors)}."
        )
    return kind(*parts, **structure["settings"], **tensors)


def require_batch_index(index: object) -> None:
    """Refuse an index that would drop the batch dimension."""
    if not isinstance(index, slice | Tensor) or (isinstance(index, Tensor) and index.ndim != 1):
        raise TypeError(f"Select batch items by a slice or a 1-D tensor, not by {index!r}.")


def _descendants(base: type[MadeOfTensors]) -> "list[type[MadeOfTensors]]":
    return [kind for child in base.__subclasses__() for kind in (child, *_descendants(child))]
