"""What the runs on show hand out: pictures of samples while training, and all curves as numbers.

- ``GET /run/NAME/STAGE/IMAGES.png`` is a grid of samples.
- ``GET /run/curves.csv?run=NAME&run=…`` is every logged figure of some runs, one row each.

Names are those of `name_runs`; nothing else is ever read.
"""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response

from ..csv_cells import safe_cell
from ..web.session import current_session

_HEADERS = {"Cache-Control": "no-store"}


def name_runs(runs: tuple[Path, ...]) -> dict[str, Path]:
    """Give each run a name of its own: its folder's, numbered where two are called alike."""
    names: dict[str, Path] = {}
    for path in runs:
        name = path.name if path.name != "demo_model" else "Demo model"
        names[name if name not in names else f"{name} ({len(names) + 1})"] = path
    return names


def grid_address(name: str, stage: str, images: int) -> str:
    """Return the address of a grid of samples."""
    return f"/run/{quote(name, safe='')}/{stage}/{images}.png"


def curves_address(names: list[str]) -> str:
    """Return the address of the curves of some runs."""
    return f"/run/curves.csv?{urlencode([('run', name) for name in names])}"


def mount_run_files(app: FastAPI, runs: tuple[Path, ...]) -> None:
    """Add the addresses."""
    names = name_runs(runs)

    @app.get("/run/curves.csv")
    def curves(request: Request) -> Response:
        current_session(request)
        chosen = request.query_params.getlist("run")
        if not chosen or any(name not in names for name in chosen):
            raise HTTPException(404, "not found")
        text = curves_csv({name: names[name] for name in names if name in chosen})
        headers = {**_HEADERS, "Content-Disposition": 'attachment; filename="curves.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    @app.get("/run/{name}/{stage}/{images}.png")
    def samples(request: Request, name: str, stage: str, images: int) -> Response:
        from rsd_med.reporting.record import find_grids
        from rsd_med.runs.run_folder import RunFolder

        current_session(request)
        path = find_grids(RunFolder(names[name]).samples).get(stage, {}).get(images) if name in names else None
        if path is None:
            raise HTTPException(404, "not found")
        return Response(path.read_bytes(), media_type="image/png", headers=_HEADERS)


def curves_csv(runs: Mapping[str, Path]) -> str:
    """Return every finite figure that some runs logged, as CSV: run, stage, images, figure, value."""
    from rsd_med.reporting.record import finite, read_run
    from rsd_med.runs.run_folder import RunFolder

    page = io.StringIO(newline="")
    writer = csv.writer(page, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow(("run", "stage", "images", "figure", "value"))
    for name, path in runs.items():
        for line in read_run(RunFolder(path)).lines:
            images = finite(line, "images")
            for figure in line:
                value = finite(line, str(figure))
                if figure != "images" and images is not None and value is not None and math.isfinite(value):
                    row = (name, str(line.get("stage", "")), images, str(figure), value)
                    writer.writerow([safe_cell(cell) for cell in row])
    return page.getvalue()
