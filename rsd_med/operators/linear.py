"""The linear operator: a map, its adjoint, and how the two are composed and differentiated."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from rsd_med.operators.differentiation import Apply, TracedApply
from rsd_med.operators.facts import Facts


class LinearOperator(Facts, ABC):
    """A linear map A from images to measurements, batched over leading dimensions.

    A light object that holds tensors: not a module, nothing in it is learned, and no gradient flows to them.

    - ``A(x)`` applies it; autograd's backward is the adjoint.
    - ``A.H`` is the adjoint as an operator, and ``A.H.H is A``.
    - ``A @ B`` is the lazy composition x -> A(B(x)); ``A + B`` and ``2 * A`` are what they say.
    - ``A.normal(x)`` is A^H A x.
    - ``A[index]`` and ``LinearOperator.cat`` select and stack the items of a batch.
    - ``A.entries``, ``support``, ``normal_diagonal``, ``largest_eigenvalue``, ``domain`` and ``device`` tell what
      solvers and audits ask, so that none of them has to know which operator it is.

    A subclass writes `forward` and `adjoint`, and names its constructor's arguments in ``item_tensors`` and
    ``settings``. An operator whose tensors have no batch dimension serves every item alike.
    """

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
            raise ValueError(
                f"{type(self).__name__} acts on complex tensors, not {x.dtype}: convert with to_complex first."
            )
        function = TracedApply if torch.compiler.is_compiling() else Apply
        result: Tensor = function.apply(x, self)
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

    def approximate_image(self, data: Tensor) -> Tensor:
        """Return an image of data without solving anything, in its own units; by default A^H y, zero-filling."""
        return self.H(data)

    def __matmul__(self, other: "LinearOperator") -> "LinearOperator":
        """Compose lazily: ``(A @ B)(x) = A(B(x))``; the identity disappears."""
        if not isinstance(other, LinearOperator):
            return NotImplemented
        return self if isinstance(other, Identity) else Composition(self, other)

    def __add__(self, other: "LinearOperator") -> "LinearOperator":
        """Add: ``(A + B)(x) = A(x) + B(x)``."""
        return Sum(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __mul__(self, factor: float) -> "LinearOperator":
        """Multiply by a real number."""
        if not isinstance(factor, int | float):
            return NotImplemented
        return Scaled(self, torch.tensor(factor, dtype=torch.float64))

    __rmul__ = __mul__


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

    def normal_diagonal(self, image: Tensor) -> Tensor:
        """Return ones."""
        return torch.ones(1, 1, 1, 1, dtype=image.real.dtype, device=image.device)

    def largest_eigenvalue(self, image: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones(len(image), dtype=image.real.dtype, device=image.device)

    @property
    def gram(self) -> "LinearOperator":
        """The identity, again."""
        return self

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        """Return the other operator."""
        return other


class _Wrapper(LinearOperator):
    """An operator made of other operators."""

    def __init__(self, *parts: LinearOperator) -> None:
        self.parts = parts
        self.complex_domain = any(part.complex_domain for part in parts)

    # What is said of the outermost part holds of the data, and of the innermost of the image.

    @property
    def domain(self) -> tuple[int, ...] | None:
        return self.parts[-1].domain

    @property
    def codomain(self) -> tuple[int, ...] | None:
        return self.parts[0].codomain

    @property
    def coil_maps(self) -> Tensor | None:
        return self.parts[-1].coil_maps

    @property
    def sets(self) -> int:
        return self.parts[-1].sets

    def entries(self, data: Tensor) -> Tensor:
        return self.parts[0].entries(data)

    def frequencies(self, data: Tensor) -> Tensor | None:
        return self.parts[0].frequencies(data)

    def support(self) -> Tensor:
        return self.parts[-1].support()


class _OfImages(_Wrapper):
    """An adjoint or a square: no measurement, so that all numbers count and nothing is known to be unseen."""

    def entries(self, data: Tensor) -> Tensor:
        return Facts.entries(self, data)

    def frequencies(self, data: Tensor) -> Tensor | None:
        return None

    def support(self) -> Tensor:
        return Facts.support(self)


class Adjoint(_OfImages):
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

    @property
    def domain(self) -> tuple[int, ...] | None:
        """What the operator maps to."""
        return self.parts[0].codomain

    @property
    def codomain(self) -> tuple[int, ...] | None:
        """What the operator maps from."""
        return self.parts[0].domain


class Gram(_OfImages):
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

    @property
    def codomain(self) -> tuple[int, ...] | None:
        """What the operator maps from."""
        return self.parts[0].domain


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

    def _name(self) -> str:
        return " @ ".join(part._name() for part in self.parts)


class Sum(_Wrapper):
    """The sum of two operators; made by ``A + B``.

    Raises
    ------
    ValueError
        If they take or return other shapes: data of one coil and of many would broadcast, and be wrong.
    """

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        for name in ("domain", "codomain"):
            shapes = [shape for part in (first, second) if (shape := getattr(part, name)) is not None]
            if len(set(shapes)) > 1:
                msg = f"Operators with the {name} {shapes[0]} and {shapes[1]} cannot be added."
                raise ValueError(msg)
        super().__init__(first, second)

    def forward(self, x: Tensor) -> Tensor:
        """Compute A x + B x."""
        return self.parts[0].forward(x) + self.parts[1].forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Compute A^H y + B^H y."""
        return self.parts[0].adjoint(y) + self.parts[1].adjoint(y)

    @property
    def domain(self) -> tuple[int, ...] | None:
        """That of either."""
        return self.parts[0].domain or self.parts[1].domain

    @property
    def codomain(self) -> tuple[int, ...] | None:
        """That of either."""
        return self.parts[0].codomain or self.parts[1].codomain

    @property
    def coil_maps(self) -> Tensor | None:
        """None: two scans have two."""
        return None

    def entries(self, data: Tensor) -> Tensor:
        """Return what either measures."""
        return self.parts[0].entries(data) | self.parts[1].entries(data)

    def support(self) -> Tensor:
        """Return what either sees."""
        return self.parts[0].support() | self.parts[1].support()

    def _name(self) -> str:
        return f"({' + '.join(part._name() for part in self.parts)})"


class Scaled(_Wrapper):
    """An operator times a real number, or one for each item; made by ``2 * A``.

    Parameters
    ----------
    operator
        What is multiplied.
    factor
        By what, real ``()`` or ``(b,)``.

    Raises
    ------
    ValueError
        If the factor is of another kind.
    """

    item_tensors: ClassVar[dict[str, int]] = {"factor": 0}

    def __init__(self, operator: LinearOperator, factor: Tensor) -> None:
        super().__init__(operator)
        if factor.is_complex() or factor.ndim > 1:
            raise ValueError(
                f"An operator is scaled by a real number, or one for each item, not by {tuple(factor.shape)}."
            )
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Apply, and multiply."""
        return self._times(self.parts[0].forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the adjoint, and multiply."""
        return self._times(self.parts[0].adjoint(y))

    def apply_normal(self, x: Tensor) -> Tensor:
        """Apply A^H A, and multiply twice."""
        return self._times(self._times(self.parts[0].apply_normal(x)))

    def normal_diagonal(self, image: Tensor) -> Tensor:
        """Return that of the operator times the squared factor."""
        return self._times(self._times(self.parts[0].normal_diagonal(image)))

    def largest_eigenvalue(self, image: Tensor) -> Tensor:
        """Return that of the operator times the squared factor."""
        return self.parts[0].largest_eigenvalue(image) * self.factor.to(image.real.dtype).square()

    def restricted(self, data: Tensor, chosen: Tensor) -> tuple[LinearOperator, Tensor] | None:
        """Return that of the operator, times the factor."""
        part = self.parts[0].restricted(data, chosen)
        return None if part is None else (Scaled(part[0], self.factor), part[1])

    def approximate_image(self, data: Tensor) -> Tensor:
        """Return that of the operator for undivided data."""
        return self.parts[0].approximate_image(self._times(data, -1))

    def _times(self, data: Tensor, power: int = 1) -> Tensor:
        factor = self.factor.to(data.device, data.real.dtype) ** power
        return data * factor.reshape(-1, *[1] * (data.ndim - 1)) if factor.ndim else data * factor

    def _name(self) -> str:
        factors = [f"{factor:.4g}" for factor in self.factor.reshape(-1)[:3].tolist()]
        more = ["..."] if self.factor.numel() > len(factors) else []
        shown = factors[0] if self.factor.numel() == 1 else f"({', '.join([*factors, *more])})"
        return f"{shown} * {self.parts[0]._name()}"
