"""A package whose ``__init__`` waits: little is imported, and nothing is missed by whoever asks for more."""

import sys

import pytest

from rsd_med.base.lazy_packages import lazy_packages

FILES = {
    "__init__.py": (
        "from big.inner import rest\nfrom .heavy import other\nfrom . import far\nimport big.late\n"
        "COUNT = other + rest\n"
    ),
    "light.py": "needed = ['needed']\n",
    "heavy.py": "other = 1\n",
    "late.py": "",
    "more.py": "from big import COUNT\n",
    "inner/__init__.py": "__all__ = ['wanted', 'rest']\nfrom .wanted import wanted as wanted\nfrom .rest import rest\n",
    "inner/wanted.py": "from big.light import needed\nfrom big import far\nwanted = far.needed\n",
    "inner/rest.py": "rest = 2\n",
    "far/__init__.py": "from ..light import needed\nfrom ..heavy import other\n",
}
ALL = {"light", "heavy", "late", "inner", "inner.wanted", "inner.rest", "far"}


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Put a package in reach; return a function that tells which of its modules have been imported."""
    for name, text in FILES.items():
        path = tmp_path / "big" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield lambda: {name.removeprefix("big.") for name in sys.modules if name.startswith("big.")}
    for name in [name for name in sys.modules if name.partition(".")[0] == "big"]:
        del sys.modules[name]


@pytest.fixture
def finders(loaded):
    """Return the finders of before: that of a package which other tests have begun to import may be among them."""
    return list(sys.meta_path)


@pytest.fixture
def wanted(finders):
    with lazy_packages("big"):
        from big.inner.wanted import wanted
    return wanted


def test_one_module_comes_with_what_it_needs_itself(loaded, wanted):
    import big

    assert loaded() == {"light", "far", "inner", "inner.wanted"}
    assert big.inner.wanted is sys.modules["big.inner.wanted"]
    assert not hasattr(big, "__wrapped__")
    assert loaded() == {"light", "far", "inner", "inner.wanted"}


def _by_a_value():
    import big

    assert big.COUNT == 3


def _by_a_name_of_a_package_within():
    import big.inner

    inner = big.inner
    assert inner.rest == 2
    assert big.inner.rest == 2


def _by_another_module():
    from big.more import COUNT

    assert COUNT == 3


def _by_everything():
    names = {}
    exec("from big.inner import *", names)
    assert names["rest"] == 2


def _by_a_module_that_the_init_imports_too():
    import big.late

    assert big.late is sys.modules["big.late"]
    assert big.late.__spec__.origin.endswith("late.py")


@pytest.mark.parametrize(
    "ask",
    [
        _by_a_value,
        _by_a_name_of_a_package_within,
        _by_another_module,
        _by_everything,
        _by_a_module_that_the_init_imports_too,
    ],
)
def test_whoever_asks_for_more_finds_everything(loaded, finders, wanted, ask):
    ask()
    assert loaded() >= ALL
    assert sys.modules["big.inner"].wanted is wanted
    assert sys.modules["big"].inner is sys.modules["big.inner"]
    with pytest.raises(AttributeError, match="nothing"):
        _ = sys.modules["big"].nothing
    assert sys.meta_path == finders


def test_what_was_imported_before_stays_as_it_is(loaded):
    import big

    with lazy_packages("big"):
        import big.far
    assert big.COUNT == 3
    assert loaded() == ALL


def test_what_is_not_installed_is_missed_as_usual(loaded):
    finders = list(sys.meta_path)
    with pytest.raises(ModuleNotFoundError, match="big_not"), lazy_packages("big_not"):
        import big_not  # noqa: F401
    assert sys.meta_path == finders
