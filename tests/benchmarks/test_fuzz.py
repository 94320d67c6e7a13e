"""The fuzzing campaign in its smallest form, and that it would notice what it looks for."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import _malformed as malformed
from benchmarks import fuzz
from tests.conftest import shared_folder

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "root").mkdir()
    (folder / "elsewhere").mkdir()
    shared = shared_folder()
    seeds = malformed.real_files(shared if shared.is_dir() else None, folder)
    (folder / "elsewhere" / "secret.h5").write_bytes((folder / "seed.h5").read_bytes())
    return folder, seeds, fuzz.Watch(folder / "elsewhere")


@pytest.mark.parametrize("kind", malformed.SUFFIXES)
@settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(number=st.integers(0, 2**32))
def test_whatever_is_in_a_file_it_is_read_or_refused_with_a_sentence(place, kind, number):
    folder, seeds, watch = place
    if not seeds[kind]:
        pytest.skip("no real file of this kind here")
    content = malformed.malform(kind, seeds[kind], random.Random(number), folder, folder / "elsewhere" / "secret.h5")
    path = folder / "root" / f"file{malformed.SUFFIXES[kind]}"
    malformed.put(content, path)
    watch.opened()
    assert fuzz.attempt(path, kind) in ("read", "refused")
    assert not watch.opened()


@settings(max_examples=60, deadline=None, database=None)
@given(
    place=st.sampled_from(range(len(malformed.PROTOCOL.splitlines()))),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_any_value_in_any_place_of_a_protocol_is_read_or_refused(tmp_path_factory, place, value):
    import json

    lines = malformed.PROTOCOL.splitlines()
    lines[place] = lines[place].partition(":")[0] + ": " + json.dumps(value)
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert fuzz.attempt(path, "protocol") in ("read", "refused")


def test_a_traceback_a_hang_and_a_foreign_file_would_be_noticed(tmp_path, monkeypatch):
    def broken(path, kind):
        raise IndexError("list index out of range")

    with monkeypatch.context() as patch:
        patch.setattr(fuzz, "read", broken)
        assert fuzz.attempt(tmp_path / "file.h5", "hdf5") == "IndexError: list index out of range"
    with monkeypatch.context() as patch:
        patch.setattr(fuzz, "read", lambda path, kind: (_ for _ in ()).throw(fuzz.HangError))
        assert fuzz.attempt(tmp_path / "file.h5", "hdf5").startswith("hangs")
    (tmp_path / "secret").write_text("x")
    watch = fuzz.Watch(tmp_path)
    if watch.handle >= 0:
        assert not watch.opened()
        (tmp_path / "secret").read_text()
        assert watch.opened()
