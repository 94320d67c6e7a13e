"""Logins: who is known, what is stored, and how often one may guess."""

import pytest

from apps.inspector.web import users
from apps.inspector.web.throttle import TRIES
from apps.inspector.web.users import Users, add_user
from rsd_med.base.errors import DataError, ProtocolError

PASSWORD = "correct horse battery"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(users, "scrypt", lambda password, salt: (salt + password.encode()).hex().encode())
    path = tmp_path / "users"
    add_user(path, "reader-1", PASSWORD)
    return path


def test_a_user_is_known_by_the_password_alone(file):
    known = Users(file)
    assert known.check("reader-1", PASSWORD)
    assert not known.check("reader-1", PASSWORD + "x")
    assert not known.check("reader-2", PASSWORD)
    assert not known.check("", "")


def test_a_new_password_replaces_the_old_one_and_no_other_user(file):
    add_user(file, "reader-2", PASSWORD)
    add_user(file, "reader-1", "another password")
    known = Users(file)
    assert not known.check("reader-1", PASSWORD)
    assert known.check("reader-1", "another password")
    assert known.check("reader-2", PASSWORD)
    assert file.stat().st_mode & 0o777 == 0o600


def test_guessing_is_slowed(file):
    known = Users(file)
    for _ in range(TRIES):
        assert not known.check("reader-1", "wrong")
    with pytest.raises(DataError, match="wait"):
        known.check("reader-1", PASSWORD)
    assert known.check("reader-1", PASSWORD, "10.0.0.7")  # from elsewhere the reader is let in


def test_the_password_itself_is_never_stored(tmp_path):
    path = tmp_path / "users"
    add_user(path, "a", PASSWORD)
    assert PASSWORD not in path.read_text()
    assert Users(path).check("a", PASSWORD)


@pytest.mark.parametrize(("name", "password"), [("a:b", PASSWORD), ("../x", PASSWORD), ("", PASSWORD), ("a", "short")])
def test_names_and_passwords_that_will_not_do(tmp_path, name, password):
    with pytest.raises(ProtocolError):
        add_user(tmp_path / "users", name, password)


def test_a_file_that_holds_nobody_is_refused(tmp_path):
    for content in ("", "no colons", "a:zz:zz"):
        path = tmp_path / "users"
        path.write_text(content)
        with pytest.raises(DataError, match="login"):
            Users(path)
