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
from typing import Any

from fastapi import HTTPException, Request

from rsd_med.base.errors import DataError

from .artefacts import Artefact, Item
from .space import Space

COOKIE = "inspector_session"
"""Begins the name of the cookie; the port follows, since browsers give a cookie to all ports of a machine."""
MAX_SESSIONS = 256
"""Sessions in which something was done."""
MAX_UNUSED = 4096
"""Those in which nothing was done yet: they own nothing, so the oldest makes room."""
IDLE_SECONDS = 24 * 3600.0
"""A session that is not used ends after this long, however many pages are open."""
CLOSED_SECONDS = 8 * 3600.0
"""A session of which no page was open for this long ends: a lid may be closed, or the network away, for a working day.
A page says every half minute that it is open (static/presence.js)."""
UNUSED_SECONDS = 600.0
"""The same where nothing was done yet."""
SPARE_SECONDS = 900.0
"""Where places or the disk are wanted, a session without an open page ends after this long."""
MOST_PAGES = 64
"""Pages of one session that are known by name; the oldest is forgotten."""


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
        Private to the server's user (0700), made when it is first needed, removed at the end.
    space
        The room on the disk.
    artefacts
        Everything the user may fetch, by opaque id.
    uploads
        Files the user sent, by opaque id.
    items
        What was read of them last, by upload, slice and number of files.
    cases
        Open scans by opaque id, as the page for reading keeps them (``reading.cases``).
    numbers
        What uploads are called, by their ids: the first is number 1.
    user
        Name of the login, where logins are required; None otherwise.
    pages
        Gradio's names of the pages that have asked for something, the latest last.
    begun
        Whether anything was asked for.
    reading
        Held while an upload is read, so that what is asked for twice is read once.
    waits
        Requests whose answers are being waited for.
    last_used, last_seen
        ``time.monotonic`` of the last thing that the user did, and of the last sign of an open page.
    """

    token: str
    folder: Path
    space: Space
    user: str | None = None
    artefacts: dict[str, Artefact] = field(default_factory=dict)
    uploads: dict[str, Path] = field(default_factory=dict)
    items: OrderedDict[tuple[str, int | None, int], Item] = field(default_factory=OrderedDict)
    pages: OrderedDict[str, None] = field(default_factory=OrderedDict)
    begun: bool = False
    cases: dict[str, Any] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
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
            When the session has ended, or there is no room on the disk.
        """
        if self.ended:
            raise DataError("This session has ended and its files are gone; reload the page to begin a new one.")
        self.space.check(self.folder)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        return self.folder / (new_id() + suffix)

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
        Called with a session that ends and had begun, before its folder is removed.
    port
        Where the server listens; in the name of the cookie.
    """

    def __init__(
        self, root: Path | None = None, on_end: Callable[[Session], None] = lambda _: None, *, port: int = 0
    ) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="inspector-")) if root is None else root
        self.root.chmod(0o700)
        self.cookie = f"{COOKIE}_{port}"
        self.space = Space(self.root)
        self._on_end = on_end
        self._sessions: dict[str, Session] = {}
        self._pages: dict[str, Session] = {}  # by the names that Gradio's pages choose for themselves
        self._lock = threading.Lock()

    def create(self, user: str | None = None) -> Session:
        """Make a session: it takes no place and no room until something is asked for."""
        session = Session(secrets.token_urlsafe(32), self.root / new_id(), self.space, user)
        with self._lock:
            unused = [other for other in self._sessions.values() if not other.begun]
            self._sessions[session.token] = session
        if len(unused) >= MAX_UNUSED:
            self.end(unused[0])
        return session

    def begin(self, session: Session) -> None:
        """Note that something is asked for.

        Raises
        ------
        DataError
            When too many others are at work.
        """
        if session.begun:
            return
        if self._count_begun() >= MAX_SESSIONS:
            self.sweep(spare=True)
        with self._lock:
            if self._count_begun() >= MAX_SESSIONS:
                raise DataError("Too many people are using this server at the moment; please try again in a while.")
            session.begun = True

    def find(self, token: str | None, *, used: bool = True) -> Session | None:
        """Return the session of a cookie and note that it is in use, or (not ``used``) merely open."""
        session = self._sessions.get(token or "")
        if session is not None:
            session.note(used=used)
        return session

    def peek(self, token: str) -> Session | None:
        """Return the session of a token without noting any use."""
        return self._sessions.get(token)

    def owner_of(self, page: str) -> Session | None:
        """Return the session of a page."""
        return self._pages.get(page)

    def own(self, page: str, session: Session) -> None:
        """Note that a page is a session's; of many, the one that was used last long ago is forgotten."""
        with session.lock:
            if session.ended:
                return
            self._pages[page] = session
            session.pages[page] = None
            session.pages.move_to_end(page)
            while len(session.pages) > MOST_PAGES:
                self._pages.pop(session.pages.popitem(last=False)[0], None)

    def end(self, session: Session) -> None:
        """End a session: nothing of it can be fetched any more, and its folder is removed."""
        with self._lock:
            if self._sessions.pop(session.token, None) is None:
                return
        with session.lock:
            session.ended = True
            session.artefacts.clear()
            session.uploads.clear()
            session.items.clear()
            for page in session.pages:
                self._pages.pop(page, None)
            session.cases.clear()
        if session.begun:
            self._on_end(session)
        shutil.rmtree(session.folder, ignore_errors=True)
        self.space.forget(session.folder)

    def sweep(self, *, spare: bool = False) -> None:
        """End the sessions that nobody uses any more; sooner where room is wanted (``spare``, or a disk that fills)."""
        now = time.monotonic()
        spare = spare or self.space.is_short()
        for session in list(self._sessions.values()):
            patience = CLOSED_SECONDS if session.begun else UNUSED_SECONDS
            if spare:
                patience = min(patience, SPARE_SECONDS)
            closed = session.waits == 0 and now - session.last_seen > patience
            if closed or now - session.last_used > IDLE_SECONDS:
                self.end(session)

    def close(self) -> None:
        """End all sessions and remove their folder."""
        for session in list(self._sessions.values()):
            self.end(session)
        shutil.rmtree(self.root, ignore_errors=True)

    def _count_begun(self) -> int:
        return sum(session.begun for session in list(self._sessions.values()))

    def __iter__(self) -> Iterator[Session]:
        """Iterate over the sessions there are."""
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self._sessions)
