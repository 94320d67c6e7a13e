"""The page for reading as HTML: one window, a rail with what is done, and the viewer."""

import html
from pathlib import Path
from string import Template

from ..notice import NOTICE
from ..settings import ServerSettings
from ..viewer.page import body_html

STATIC = Path(__file__).parent / "static"


def page_html(settings: ServerSettings) -> str:
    """Return the page, the same for everybody: what is in it comes from the session."""
    model = "the demo model" if settings.demo else f"the run {settings.run.name}"
    leave = ("Log out", "/logout") if settings.users is not None else ("End session", "/session/end")
    return Template((STATIC / "page.html").read_text(encoding="utf-8")).substitute(
        model=html.escape(model),
        demo="true" if settings.demo else "false",
        study='<a href="/study">Reader study</a>' if settings.study is not None else "",
        leave=leave[0],
        where=leave[1],
        notice=html.escape(NOTICE),
        viewer=body_html(),
    )
