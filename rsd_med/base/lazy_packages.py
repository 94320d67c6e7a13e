"""Import one module of a large package without all the others that its ``__init__`` files import.

``import monai`` alone loads every module of MONAI, and with them torchvision, pandas and matplotlib: five seconds, of
which a command that builds one network needs a tenth of one. Within

    with lazy_packages("monai"):
        from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

packages of MONAI are made without running their ``__init__``. A name that such a package lacks is taken from the module
from which its ``__init__`` would import it. Whoever asks for anything else of MONAI, then or later, has all of it
imported first, as ever, and waits for it then. What was imported here stays the same objects.
"""

import ast
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import resolve_name
from types import ModuleType
from typing import Any

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def lazy_packages(root: str) -> Iterator[None]:
    """Let packages below ``root`` that are first imported in this block wait with their ``__init__``.

    Parameters
    ----------
    root
        Name of a package of Python's top level. If it has been imported already, everything is as usual.
    """
    if root in sys.modules:
        yield
        return
    finder = _Finder(root)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        finder.is_lazy = False
        if root not in sys.modules:
            finder.leave()


class LazyPackage(ModuleType):
    """A package whose ``__init__`` has not run yet."""

    def __getattr__(self, name: str) -> Any:
        """Return what ``__init__`` would have put here."""
        loader: _LazyLoader = vars(self)["__lazy_loader__"]
        if loader.finder.is_lazy and name in loader.origins:
            module, name_there = loader.origins[name]
            if module == self.__name__:  # from . import name_there
                return import_module(f"{module}.{name_there}")
            return getattr(import_module(module), name_there)
        # Python itself asks modules for names like __wrapped__, which no __init__ holds.
        if name.startswith("__") and name not in loader.assigned:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        loader.finder.make_up()
        return getattr(import_module(self.__name__), name)


class _Finder(MetaPathFinder):
    """Finds modules as Python does; packages of one root get a lazy loader, while it is lazy."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.is_lazy = True

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != self.root:
            return None
        if not self.is_lazy:
            self.make_up()
            present = sys.modules.get(fullname)
            return None if present is None else ModuleSpec(fullname, _Present(present))
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.submodule_search_locations and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _LazyLoader(spec.loader, self)
        return spec

    def make_up(self) -> None:
        """Run the root's ``__init__``, which then imports the lazy packages anew, in the order that it knows."""
        with _ONE_AT_A_TIME:
            if not self.leave():
                return
            root = sys.modules[self.root]
            for name, module in list(sys.modules.items()):
                if isinstance(module, LazyPackage) and name.startswith(f"{self.root}."):
                    del sys.modules[name]
                    vars(root).pop(name.removeprefix(f"{self.root}."), None)
            loader: _LazyLoader = vars(root)["__lazy_loader__"]
            root.__class__ = ModuleType
            loader.real.exec_module(root)

    def leave(self) -> bool:
        """Let Python find modules alone; return whether it has not been so before."""
        self.is_lazy = False
        present = self in sys.meta_path
        if present:
            sys.meta_path.remove(self)
        return present


class _LazyLoader(Loader):
    """Makes a package, and reads what its ``__init__`` would import, without running it."""

    def __init__(self, real: SourceFileLoader, finder: _Finder) -> None:
        self.real = real
        self.finder = finder
        self.origins: dict[str, tuple[str, str]] = {}
        self.assigned = {"__all__"}

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        package = LazyPackage(spec.name)
        vars(package)["__lazy_loader__"] = self
        return package

    def exec_module(self, module: ModuleType) -> None:
        for node in ast.parse(self.real.get_source(module.__name__) or "").body:
            if isinstance(node, ast.ImportFrom):
                origin = resolve_name("." * node.level + (node.module or ""), module.__name__)
                self.origins |= {alias.asname or alias.name: (origin, alias.name) for alias in node.names}
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self.assigned |= {target.id for target in targets if isinstance(target, ast.Name)}


class _Present(Loader):
    """Hands over a module that is there already: the root's ``__init__`` has imported it while it was looked for."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec
