"""The image viewer: panes side by side, windowed by our own arithmetic, linked, measured, read by mouse and keyboard."""
