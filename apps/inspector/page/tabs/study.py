"""Reader study: the page readers work in, or how to set one up."""

from ..desk import note

HOW = (
    "No reader study is set up. Write a study.yaml (docs/reader_study.md has an example) and start the app with "
    "--study study.yaml."
)


def study_tab(has_study: bool) -> None:
    """Build the tab."""
    import gradio as gr

    frame = (
        '<iframe class="viewer" src="/study" title="Reader study" width="100%" height="820" style="border:0" '
        'loading="lazy"></iframe>'
    )
    gr.HTML(frame if has_study else note(HOW), elem_id="study", apply_default_css=False)
