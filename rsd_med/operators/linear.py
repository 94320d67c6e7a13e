"""The linear operator: a map, its adjoint, and how the two are composed and differentiated."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor


class _Apply(torch.autograd.Function):
    """Apply an operator so that autograd uses its adjoint.

    Backward calls the adjoint through ``__call__`` again, so it can itself be differentiated, any number of times;
    the forward-mode derivative of a linear map is the map.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, operator: "LinearOperator") -> Tensor:
        return operator.forward(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, "LinearOperator"], output: Tensor) -> None:
        ctx.operator = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.operator.H(gradients[0]), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        return ctx.operator(tangents[0])


class LinearOperator(ABC):
    """A linear map A from images to measurements, batched over leading dimensions.

    A light object that holds tensors: not a module, nothing in it is learned, and no gradient flows to them.

    - ``A(x)`` applies it; autograd's backward is the adjoint.
    - ``A.H`` is the adjoint as an operator, and ``A.H.H is A``.
    - ``A @ B`` is the lazy composition x -> A(B(x)).
    - ``A.normal(x)`` is A^H A x.
    - ``A[index]`` and ``LinearOperator.cat`` select and stack the items of a batch.

    A subclass writes `forward` and `adjoint`, and names in ``item_tensors`` its constructor's tensor arguments,
    each with the number of dimensions it has without its batch: an operator whose tensors have no batch dimension
    serves every item alike.
    """

    complex_domain: bool = False
    """True if the operator acts on complex images only."""

    item_tensors: ClassVar[dict[str, int]] = {}

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Compute A x; call the operator itself instead, whose gradient is the adjoint."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """Compute A^H y; call ``A.H(y)`` instead, whose gradient is A."""

    def apply_normal(self, x: Tensor) -> Tensor:
        """Compute A^H A x, faster than in two steps where a subclass knows how; call `normal` instead."""
        return self.adjoint(self.forward(x))

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the operator.

        Parameters
        ----------
        x
            A batch in the operator's domain, real or complex.

        Raises
        ------
        ValueError
            If the operator acts on complex images and ``x`` is real, or if the shapes do not fit.
        """
        if self.complex_domain and not x.is_complex():
            msg = f"{type(self).__name__} acts on complex tensors, not {x.dtype}: convert with to_complex first."
            raise ValueError(msg)
        result: Tensor = _Apply.apply(x, self)
        return result

    @property
    def H(self) -> "LinearOperator":  # noqa: N802 - the field's name of an adjoint
        """The adjoint, as an operator."""
        return Adjoint(self)

    @property
    def gram(self) -> "LinearOperator":
        """The self-adjoint operator A^H A."""
        return Gram(self)

    def normal(self, x: Tensor) -> Tensor:
        """Apply A^H A, of which the gradient is A^H A again."""
        return self.gram(x)

    def __matmul__(self, other: "LinearOperator") -> "LinearOperator":
        """Compose lazily: ``(A @ B)(x) = A(B(x))``; the identity disappears."""
        if not isinstance(other, LinearOperator):
            return NotImplemented
        return self if isinstance(other, Identity) else Composition(self, other)

    def to(self, device: torch.device | str) -> Self:
        """Return the operator with its tensors on a device."""
        return self._rebuild({name: getattr(self, name).to(device) for name in self.item_tensors})

    def __getitem__(self, index: slice | Tensor) -> Self:
        """Select items of the batch; tensors without a batch dimension are shared and stay.

        Raises
        ------
        TypeError
            If ``index`` is neither a slice nor a tensor: a plain number would drop the batch dimension.
        """
        require_batch_index(index)
        return self._rebuild(
            {
                name: tensor[index] if tensor.ndim > ndim else tensor
                for name, ndim in self.item_tensors.items()
                for tensor in [getattr(self, name)]
            }
        )

    @classmethod
    def cat(cls, operators: "Sequence[LinearOperator]") -> Self:
        """Stack the batches of operators of one type.

        Raises
        ------
        ValueError
            If there is none, if their types differ, or if one of them has no batch dimension.
        """
        if not operators:
            msg = "There is no operator to stack."
            raise ValueError(msg)
        first = operators[0]
        kinds = {type(operator) for operator in operators}
        if len(kinds) > 1:
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            msg = f"Operators of different types cannot be stacked: {names}."
            raise ValueError(msg)
        if not isinstance(first, cls):
            msg = f"A {type(first).__name__} cannot be stacked as {cls.__name__}."
            raise ValueError(msg)
        return first._stack(operators)

    def _stack(self, operators: "Sequence[Any]") -> Self:
        stacked = {}
        for name, ndim in self.item_tensors.items():
            tensors = [getattr(operator, name) for operator in operators]
            shapes = {tuple(tensor.shape[1:]) for tensor in tensors}
            if any(tensor.ndim <= ndim for tensor in tensors) or len(shapes) > 1:
                found = ", ".join(str(tuple(tensor.shape)) for tensor in tensors[:4])
                msg = f"The {name} of {type(self).__name__} must differ in the batch alone to be stacked, not {found}."
                raise ValueError(msg)
            stacked[name] = torch.cat(tensors)
        return self._rebuild(stacked)

    def _rebuild(self, tensors: dict[str, Tensor]) -> Self:
        return type(self)(**tensors) if tensors else self


def require_batch_index(index: object) -> None:
    """Refuse an index that would drop the batch dimension."""
    if not isinstance(index, slice | Tensor) or (isinstance(index, Tensor) and index.ndim != 1):
        msg = f"Select batch items by a slice or a 1-D tensor, not by {index!r}."
        raise TypeError(msg)


class Identity(LinearOperator):
    """The identity, for real and complex images of any shape."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return ``x`` itself."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """Return ``y``."""
        return y

    @property
    def H(self) -> "LinearOperator":  # noqa: N802
        """The identity is its own adjoint."""
        return self

    @property
    def gram(self) -> "LinearOperator":
        """The identity, again."""
        return self

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        """Return the other operator."""
        return other


class _Wrapper(LinearOperator):
    """An operator made of other operators, through which device, selection and stacking pass."""

    def __init__(self, *parts: LinearOperator) -> None:
        self.parts = parts
        self.complex_domain = any(part.complex_domain for part in parts)

    def to(self, device: torch.device | str) -> Self:
        return type(self)(*(part.to(device) for part in self.parts))

    def __getitem__(self, index: slice | Tensor) -> Self:
        return type(self)(*(part[index] for part in self.parts))

    def _stack(self, operators: Sequence[Any]) -> Self:
        columns = zip(*(operator.parts for operator in operators), strict=True)
        return type(self)(*(LinearOperator.cat(column) for column in columns))


class Adjoint(_Wrapper):
    """The adjoint of an operator; made by ``A.H``."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute A^H x."""
        return self.parts[0].adjoint(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Compute A y."""
        return self.parts[0].forward(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        """The operator this is the adjoint of, the very object."""
        return self.parts[0]


class Gram(_Wrapper):
    """The self-adjoint A^H A; made by ``A.gram``."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute A^H A x."""
        return self.parts[0].apply_normal(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Compute A^H A y."""
        return self.parts[0].apply_normal(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        """Itself."""
        return self


class Composition(_Wrapper):
    """The composition A B; made by ``A @ B``."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute A B x."""
        left, right = self.parts
        return left.forward(right.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """Compute B^H A^H y."""
        left, right = self.parts
        return right.adjoint(left.adjoint(y))

    def apply_normal(self, x: Tensor) -> Tensor:
        """Compute B^H (A^H A) B x with the inner operator's own way."""
        left, right = self.parts
        return right.adjoint(left.apply_normal(right.forward(x)))
