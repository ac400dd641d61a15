"""Put the app's routes and its gate into MONAI Label's server, which is built before any app is made."""

from __future__ import annotations

from typing import Any

from fastapi.routing import APIRoute

from .gate import Gate
from .limits import Limits
from .ohif_routes import add_panel
from .routes import router

OWN = {route.path.split("{")[0].rstrip("/") for route in router.routes if isinstance(route, APIRoute)}


def install(app: Any, local_only: bool) -> None:
    """Once, however often the app is made anew in one process.

    Args:
        app: whose limits hold until the server has an app of its own.
        local_only: whether only this machine is served.
    """
    from monailabel.app import app as server  # it reads settings, so not before the command line has set them

    for route in router.routes:
        route.mimo = True  # type: ignore[attr-defined]
    others = [route for route in server.router.routes if not hasattr(route, "mimo")]  # of an app made earlier
    server.router.routes[:] = [*router.routes, *others]
    add_panel(server.router.routes)

    def limits() -> Limits:
        return app.limits

    inner = server.router.middleware_stack
    if type(inner).__name__ == Gate.__name__:  # of an app made earlier, whose modules were loaded anew since
        inner = inner.app  # type: ignore[attr-defined]
    server.router.middleware_stack = Gate(inner, limits, local_only, is_own)


def is_own(path: str) -> bool:
    """Whether a route of ours answers a path."""
    return any(path == own or path.startswith(f"{own}/") for own in OWN)
