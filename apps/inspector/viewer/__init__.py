"""The image viewer: panes side by side, windowed by our own arithmetic, linked, measured, by mouse and by keyboard."""
