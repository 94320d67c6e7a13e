"""Who is looking, and the private folder that holds what they made; both end together.

A session is known by an opaque token in a cookie. Everything it owns is found through the session object, never
through a name or a path that the browser sent, so that one user cannot even ask for another's things.
"""

import secrets
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import HTTPException, Request

from rsd_med.base.errors import DataError

from .artefacts import Artefact, Item

COOKIE = "inspector_session"
MAX_SESSIONS = 256
IDLE_SECONDS = 3600.0
"""A session that is not used ends after this long, however many pages are open."""
CLOSED_SECONDS = 120.0
"""A session whose last page was closed ends after this long: a reload, or a short loss of connection, keeps it. A page
says every half minute that it is open (static/presence.js)."""
QUOTA_BYTES = 2 << 30
"""What one session may keep on disk."""


def new_id() -> str:
    """Return a name that says nothing and cannot be guessed: 128 random bits."""
    return secrets.token_urlsafe(16)


@dataclass
class Session:
    """One user's visit.

    Attributes
    ----------
    token
        What the cookie holds; never written to a log or a page.
    folder
        Private to the server's user (0700), removed at the end.
    artefacts
        Everything the user may fetch, by opaque id.
    uploads
        Files the user sent, by opaque id.
    items
        What was read of them last, by upload, slice and number of files.
    user
        Name of the login, where logins are required; None otherwise.
    reading
        Held while an upload is read, so that what is asked for twice is read once.
    waits
        Requests whose answers are being waited for.
    last_used, last_seen
        ``time.monotonic`` of the last thing that the user did, and of the last sign of an open page.
    """

    token: str
    folder: Path
    user: str | None = None
    artefacts: dict[str, Artefact] = field(default_factory=dict)
    uploads: dict[str, Path] = field(default_factory=dict)
    items: OrderedDict[tuple[str, int | None, int], Item] = field(default_factory=OrderedDict)
    waits: int = 0
    last_used: float = field(default_factory=time.monotonic)
    last_seen: float = field(default_factory=time.monotonic)
    lock: threading.RLock = field(default_factory=threading.RLock)
    reading: threading.Lock = field(default_factory=threading.Lock)
    ended: bool = False

    @property
    def name(self) -> str:
        """Return a name for queues and logs from which the token cannot be found."""
        return self.folder.name

    def note(self, *, used: bool = True) -> None:
        """Note that the session is in use now, or (not ``used``) that a page of it is merely open."""
        self.last_seen = time.monotonic()
        if used:
            self.last_used = self.last_seen

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Be in use for as long as an answer is being waited for."""
        self.waits += 1
        try:
            yield
        finally:
            self.waits -= 1
            self.note()

    def new_path(self, suffix: str = "") -> Path:
        """Return the path of a new file in the folder, under an opaque name.

        Raises
        ------
        DataError
            When the session has ended, or its files take more than the quota.
        """
        if self.ended:
            raise DataError("This session has ended and its files are gone; reload the page to begin a new one.")
        if self.used_bytes() > QUOTA_BYTES:
            raise DataError("This session's files take more than 2 GiB; end the session (below) to empty it.")
        return self.folder / (new_id() + suffix)

    def used_bytes(self) -> int:
        """Add up the sizes of the files."""
        total = 0
        for path in self.folder.rglob("*"):
            try:
                total += path.stat().st_size
            except OSError:
                continue
        return total

    def forget(self, artefact: str) -> None:
        """Drop an artefact and its file; unknown ids are ignored."""
        with self.lock:
            owned = self.artefacts.pop(artefact, None)
        if owned is not None:
            owned.path.unlink(missing_ok=True)


def current_session(request: Request) -> Session:
    """Return the session of a request; 403 without one (the server's gate puts it there)."""
    session = request.scope.get("inspector.session")
    if not isinstance(session, Session):
        raise HTTPException(403, "no session")
    return session


class SessionStore:
    """All sessions of a server.

    Parameters
    ----------
    root
        Folder for the sessions' folders; made (0700) in the system's temporary folder when not given, and removed by
        ``close``.
    on_end
        Called with a session that ends, before its folder is removed.
    """

    def __init__(self, root: Path | None = None, on_end: Callable[[Session], None] = lambda _: None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="inspector-")) if root is None else root
        self.root.chmod(0o700)
        self._on_end = on_end
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def create(self, user: str | None = None) -> Session:
        """Begin a session.

        Raises
        ------
        DataError
            When there are too many already.
        """
        self.sweep()
        with self._lock:
            if len(self._sessions) >= MAX_SESSIONS:
                raise DataError("Too many people are using this server at the moment; please try again in a while.")
            folder = self.root / new_id()
            folder.mkdir(mode=0o700)
            session = Session(secrets.token_urlsafe(32), folder, user)
            self._sessions[session.token] = session
        return session

    def find(self, token: str | None, *, used: bool = True) -> Session | None:
        """Return the session of a cookie and note that it is in use, or (not ``used``) merely open."""
        session = self._sessions.get(token or "")
        if session is not None:
            session.note(used=used)
        return session

    def peek(self, token: str) -> Session | None:
        """Return the session of a token without noting any use."""
        return self._sessions.get(token)

    def end(self, session: Session) -> None:
        """End a session: nothing of it can be fetched any more, and its folder is removed."""
        with self._lock:
            self._sessions.pop(session.token, None)
        with session.lock:
            session.ended = True
            session.artefacts.clear()
            session.uploads.clear()
            session.items.clear()
        self._on_end(session)
        shutil.rmtree(session.folder, ignore_errors=True)

    def sweep(self) -> None:
        """End the sessions that nobody uses any more."""
        now = time.monotonic()
        for session in list(self._sessions.values()):
            closed = session.waits == 0 and now - session.last_seen > CLOSED_SECONDS
            if closed or now - session.last_used > IDLE_SECONDS:
                self.end(session)

    def close(self) -> None:
        """End all sessions and remove their folder."""
        for session in list(self._sessions.values()):
            self.end(session)
        shutil.rmtree(self.root, ignore_errors=True)

    def __iter__(self) -> Iterator[Session]:
        """Iterate over the sessions there are."""
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self._sessions)
