"""``report.html``: one self-contained page about a run, readable offline and without scripts."""

from importlib import resources

from rsd_med import __version__
from rsd_med.base.files import write_text
from rsd_med.reporting.account import account_section
from rsd_med.reporting.figures import curves_section, metrics_section
from rsd_med.reporting.gallery import pictures_section
from rsd_med.reporting.markup import Markup, join, tag
from rsd_med.reporting.memorisation import memorisation_section
from rsd_med.reporting.reconstruction import reconstruction_section
from rsd_med.reporting.record import RunRecord, read_run
from rsd_med.reporting.verdict import verdict_sentences
from rsd_med.runs.run_folder import RunFolder

NOTICE = "Research use only. Not for diagnosis."

# Even if something slipped through the escaping, the browser would load and run nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STATES = {
    "done": "done",
    "running": "still running",
    "interrupted": "interrupted, can be resumed",
    "failed": "failed",
    "diverged": "diverged",
}


def build_report(run: RunFolder) -> None:
    """Write ``report.html`` from what the run folder holds.

    Missing pieces (no reference, no student yet, an interrupted run) and damaged files are said in words. The file is
    replaced as a whole or left as it was.

    Parameters
    ----------
    run
        The run folder; nothing else is read.

    Raises
    ------
    OSError
        If the page cannot be written.
    """
    write_text(run.report, render(read_run(run)))


def render(record: RunRecord) -> str:
    """Return the page as HTML."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", f"{record.name} · rsd_med report"),
        tag("style", Markup(resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8"))),
    )
    main = tag(
        "main",
        pictures_section(record),
        metrics_section(record),
        reconstruction_section(record),
        memorisation_section(record),
        curves_section(record),
        account_section(record),
    )
    footer = tag("footer", f"{NOTICE} Written by rsd_med {__version__} from the run folder alone.")
    body = tag("body", _header(record), tag("p", NOTICE, class_="notice", role="note"), main, footer)
    page = join(Markup("<!doctype html>\n"), tag("html", head, body, lang="en"), "\n")
    # Names of files may hold bytes that are no text.
    return page.encode("utf-8", "replace").decode("utf-8")


def _header(record: RunRecord) -> Markup:
    state = record.state if record.state in _STATES else "unknown"
    badge = tag("span", f"State: {_STATES.get(state, state)}", class_=f"state {state}")
    return tag(
        "header",
        tag("p", tag("span", "rsd_med · run report"), badge, class_="above"),
        tag("h1", record.name),
        tag("div", *(tag("p", sentence) for sentence in verdict_sentences(record)), class_="verdict"),
    )
