"""What the server keeps of pages that come and go."""

import asyncio

import pytest

pytest.importorskip("uvicorn", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.server import PAGES, ServerSettings, build_server


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_pages_that_were_closed_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))  # the server sets it: monkeypatch puts it back

    async def build():
        """Build where a loop runs: without one, Gradio makes a loop for each of its locks and closes none."""
        return build_server(ServerSettings(run=tmp_path))

    gate, store, queue = asyncio.run(build())
    mounted = [getattr(route, "app", None) for route in gate.app.routes]
    (holder,) = (app.state_holder for app in mounted if hasattr(app, "state_holder"))
    try:
        for number in range(PAGES + 20):
            assert holder[f"page{number}"] is not None
        assert len(holder.session_data) == PAGES
        assert len(holder.time_last_used) <= PAGES
        assert f"page{PAGES + 19}" in holder
        assert "page0" not in holder
    finally:
        queue.close()
        store.close()
