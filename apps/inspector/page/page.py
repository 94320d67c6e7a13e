"""The page: a header with the permanent notice, and the tabs."""

import html
from typing import Any

from ..compute.jobs import JobQueue
from ..notice import NOTICE
from ..settings import ServerSettings
from ..web.session import SessionStore
from .desk import Desk

TITLE = "rsd_med inspector"


def theme() -> Any:
    """Return the theme: quiet, dense, fonts of the machine; the colours are those of static/app.css."""
    import gradio as gr

    return gr.themes.Base(
        primary_hue="sky",
        secondary_hue="sky",
        neutral_hue="slate",
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_sm,
        text_size=gr.themes.sizes.text_md,
        font=("system-ui", "Segoe UI", "Noto Sans", "DejaVu Sans", "sans-serif"),
        font_mono=("ui-monospace", "DejaVu Sans Mono", "monospace"),
    )


def build_page(settings: ServerSettings, store: SessionStore, queue: JobQueue) -> Any:
    """Return the Gradio page."""
    import gradio as gr

    from .tabs.runs import runs_tab
    from .tabs.samples import samples_tab
    from .tabs.study import study_tab

    desk = Desk(store, queue)
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(_header(settings), elem_id="top", apply_default_css=False, js_on_load=None)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Samples", id="samples"):
                samples_tab(page, desk)
            with gr.Tab("Training runs", id="runs") as training:
                runs_tab(training, desk, (settings.run, *settings.compare))
            with gr.Tab("Reader study", id="study"):
                study_tab(settings.study is not None)
        gr.HTML(_footer(), elem_id="bottom", apply_default_css=False, js_on_load=None)
    return page


def _header(settings: ServerSettings) -> str:
    from rsd_med.reporting.record import read_run
    from rsd_med.runs.run_folder import RunFolder

    model = "Demo model" if settings.demo else f"Run: {settings.run.name}"
    shows = read_run(RunFolder(settings.run)).protocol.get("description")
    model += f": {shows}" if shows else ""
    leave = "Log out" if settings.users is not None else "End session"
    where = "/logout" if settings.users is not None else "/session/end"
    return (
        f'<header class="top"><h1>{TITLE}</h1><p class="model">{html.escape(model)}</p>'
        f'<p class="notice" role="note">{NOTICE}</p>'
        '<div class="tools"><a class="act" href="/">Scans</a>'
        '<button type="button" data-act="theme" title="Light or dark page">Light / dark</button>'
        f'<button type="button" data-act="leave" data-where="{where}">{leave}</button></div></header>'
    )


def _footer() -> str:
    return (
        f'<footer class="bottom"><p><strong>{NOTICE}</strong> Generated and reconstructed images can show anatomy that '
        "is not there and hide what is. Nothing leaves this machine; what you upload and make is removed when your "
        "session ends.</p></footer>"
    )
