"""Reader study: the way to the page readers work in, or how to set one up."""

from ..desk import note

HOW = (
    "No reader study is set up. Write a study.yaml (docs/reader_study.md has an example) and start the app with "
    "--study study.yaml."
)
WAY = (
    '<p class="empty">Readers work on a page of their own, without these tabs: '
    '<a href="/study" target="_blank" rel="noopener">open the reader study</a>, or give readers its address.</p>'
)


def study_tab(has_study: bool) -> None:
    """Build the tab."""
    import gradio as gr

    gr.HTML(WAY if has_study else note(HOW), elem_id="study", apply_default_css=False)
