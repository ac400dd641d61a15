"""Errors as sentences that a reader of images understands."""

from __future__ import annotations

import json

SENTENCES = {
    401: "The server asks for a login, which this module cannot give. Start it without one, on your own machine.",
    403: "You are not allowed to do this on this server.",
    404: "The server does not know this image or this task.",
    413: "The request is larger than the server takes.",
    429: "The server is busy. Try again in a moment.",
    503: "The server is not ready. Try again in a moment.",
    504: "The server took too long.",
}


class MimoError(Exception):
    """Its text is for the person at the screen."""


class ServerError(MimoError):
    """The server refused, or failed.

    Attributes:
        status: of HTTP; 0 where there was no reply.
    """

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


def sentence_of(status: int, body: str) -> str:
    """What a reply that is not 2xx says, in one sentence; never a traceback."""
    detail = ""
    try:
        said = json.loads(body)
        detail = said.get("detail") or said.get("message") or "" if isinstance(said, dict) else ""
        if isinstance(detail, list):  # of a form that FastAPI checked
            detail = detail[0].get("msg", "") if detail and isinstance(detail[0], dict) else ""
    except ValueError:
        pass  # not JSON: the status is all there is
    plain = isinstance(detail, str) and 0 < len(detail) <= 300 and "Traceback" not in detail and "\n" not in detail
    if plain and (status < 500 or status == 503):
        return str(detail)
    return SENTENCES.get(status, f"The server failed on this request (error {status}). Its log says why.")
