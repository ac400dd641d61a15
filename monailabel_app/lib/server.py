"""What the app puts into MONAI Label's server: its routes, and before all routes who may ask, how large a request may be,
and errors in plain words."""

from __future__ import annotations

import argparse
import ipaddress
import logging
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

import requests
from fastapi.routing import APIRoute
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monai_mimo.errors import InputError, MimoError, WeightsError

from .ohif_routes import add_panel
from .pacs import PacsError
from .request_limits import Limits
from .routes import router
from .volume_routes import router as volume_router

logger = logging.getLogger(__name__)

# What MONAI Label's own routes raise, as bare Python errors, when a parameter has another form than they expect.
FORM_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError)


OUR_ROUTES = [*router.routes, *volume_router.routes]
OWN = {route.path.split("{")[0].rstrip("/") for route in OUR_ROUTES if isinstance(route, APIRoute)}


class TooLarge(Exception):
    """More bytes came than a request may have."""


class RequestGuard:
    """ASGI middleware around the server's router.

    Args:
        app: the router.
        limits: of the current app; asked at each request.
        local_only: whether only this machine is served.
        own: whether a path is answered by a route of ours, where a bare Python error is a fault and not a bad request.
    """

    def __init__(
        self, app: ASGIApp, limits: Callable[[], Limits], local_only: bool, own: Callable[[str], bool]
    ) -> None:
        self.app, self.limits, self.local_only, self.own = app, limits, local_only, own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if self.local_only and not is_local(scope.get("client")):
            return await reply(403, "this server was started for its own machine only", scope, receive, send)
        limit = self.limits().max_request_mb << 20
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            return await reply(413, f"more than {limit >> 20} MB (max_request_mb)", scope, receive, send)
        received, started = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            if received > limit and not started:
                return  # a route that took our error for one of its own
            started = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except Exception as error:
            status, detail = error_response(error, self.own(scope["path"]))
            if started or not status:
                raise
            return await reply(status, detail, scope, receive, send)
        if received > limit and not started:
            await reply(*error_response(TooLarge(), True), scope, receive, send)


def error_response(error: Exception, own: bool) -> tuple[int, str]:
    """Status and sentence of an error; status 0 where it is a fault of the server."""
    if isinstance(error, TooLarge):
        return 413, "the request is larger than the server takes (max_request_mb)"
    if isinstance(error, WeightsError | PacsError):
        return 503, str(error)
    if isinstance(error, MimoError):
        return 400, without_folders(error)
    if isinstance(error, ImageNotFoundException | LabelNotFoundException):
        return 404, error.msg
    if isinstance(error, MONAILabelException):
        return 400, error.msg
    if isinstance(error, requests.exceptions.MissingSchema):  # MONAI Label's proxy asks what the studies' folder is
        return 404, "the studies of this server are a folder, not a DICOMweb server"
    if isinstance(error, requests.RequestException):
        return 503, "the DICOMweb server does not answer"
    if isinstance(error, FORM_ERRORS) and not own:
        logger.warning("a request that could not be used: %s", type(error).__name__)
        logger.debug("where that came from", exc_info=error)
        return 400, "the request has a parameter that is missing, unknown or of another form than expected"
    return 0, ""


def without_folders(error: MimoError) -> str:
    """The message; a file is named without its folders, which are no business of the network."""
    where = PurePath(error.where)
    return str(type(error)(where.name if where.is_absolute() else error.where, error.found, error.expected))


async def reply(status: int, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
    """An error as FastAPI writes one."""
    await JSONResponse({"detail": detail}, status)(scope, receive, send)


def is_local(client: tuple[str, int] | None) -> bool:
    """Whether a request comes from this machine; a socket file or a test has no address."""
    try:
        return client is None or ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return True


def asked_host(arguments: Sequence[str]) -> str | None:
    """The `--host` that `monailabel start_server` was given, or none: then it listens on all addresses."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("-i", "--host")
    try:
        known: Any = parser.parse_known_args(list(arguments))[0]
    except argparse.ArgumentError as error:
        raise InputError("--host", str(error), "an address") from error
    return known.host


def check_exposure(host: str | None, authenticated: bool) -> bool:
    """Warn when others can reach the server without a login.

    Returns:
        Whether only this machine is to be served: where nobody asked for more.
    """
    if host is None:
        logger.warning("no --host was given: only this machine is served; --host 127.0.0.1 says so to the network, too")
        return not authenticated
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not authenticated:
        logger.warning(
            "!!! the server listens on %s and asks nobody to log in: everyone in that network can read the studies and change "
            "the labels. Set MONAI_LABEL_AUTH_ENABLE, or use --host 127.0.0.1. !!!",
            host,
        )
    return False


def install(app: Any, local_only: bool) -> None:
    """Once, however often the app is made anew in one process.

    Args:
        app: whose limits hold until the server has an app of its own.
        local_only: whether only this machine is served.
    """
    from monailabel.app import app as server  # it reads settings, so not before the command line has set them

    for route in OUR_ROUTES:
        route.mimo = True  # type: ignore[attr-defined]
    others = [route for route in server.router.routes if not hasattr(route, "mimo")]  # of an app made earlier
    server.router.routes[:] = [*OUR_ROUTES, *others]
    add_panel(server.router.routes)

    def limits() -> Limits:
        return app.limits

    inner = server.router.middleware_stack
    if type(inner).__name__ == RequestGuard.__name__:  # of an app made earlier, whose modules were loaded anew since
        inner = inner.app  # type: ignore[attr-defined]
    server.router.middleware_stack = RequestGuard(inner, limits, local_only, is_own)


def is_own(path: str) -> bool:
    """Whether a route of ours answers a path."""
    return any(path == own or path.startswith(f"{own}/") for own in OWN)
