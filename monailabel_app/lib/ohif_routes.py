"""The MIMO panel in the OHIF that MONAI Label ships: the routes that make that viewer load it, without a build."""

from __future__ import annotations

from pathlib import Path

import monailabel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PANEL = Path(__file__).resolve().parent.parent / "ohif"
SHIPPED_CONFIG = Path(monailabel.__file__).parent / "endpoints" / "static" / "ohif" / "app-config.js"

# OHIF imports each extension that is not built in by its address; the default export of that module is the extension.
OUR_EXTENSION = """
window.config.extensions = [...(window.config.extensions ?? []), '/mimo/ext.js'];
window.config.modes = [...(window.config.modes ?? []), '/mimo/mode.js'];
"""


class PanelFiles(StaticFiles):
    """The panel's modules. A browser asks each time whether they changed, so that an update of the app is seen."""

    def file_response(self, full_path, stat_result, scope: Scope, status_code: int = 200) -> Response:  # type: ignore[no-untyped-def]
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "no-cache"
        return response


async def app_config(request: Request) -> Response:
    """MONAI Label's configuration of OHIF, and our extension."""
    return Response(
        SHIPPED_CONFIG.read_text() + OUR_EXTENSION,
        media_type="text/javascript",
        headers={"Cache-Control": "no-cache"},
    )


def panel_routes() -> list[BaseRoute]:
    """To be put before MONAI Label's own routes, whose /ohif/{path} would answer first."""
    return [
        Route("/ohif/app-config.js", app_config, name="mimo_ohif_config"),
        Mount("/mimo", PanelFiles(directory=PANEL), name="mimo_panel"),
    ]


def add_panel(routes: list[BaseRoute]) -> None:
    """Insert the panel's routes into a server's; once, however often the app is made anew."""
    if not any(route.name == "mimo_panel" for route in routes if isinstance(route, Mount)):
        routes[:0] = panel_routes()
