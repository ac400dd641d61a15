"""The work on one volume: asking, deciding and saving, from state to state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from . import nrrd
from .answer import ACCEPTED, REJECTED, accepted, decided, read_answer
from .client import Client, Image
from .errors import MimoError, ServerError
from .geometry import Grid
from .history import State
from .masks import label_map
from .prompts import request


class Session:
    """Args:
    client: of the server.
    grid: of the volume.
    image: its id on the server; none where it has to be sent there first.
    upload: sends it.
    """

    def __init__(self, client: Client, grid: Grid, image: str | None, upload: Callable[[], Image]) -> None:
        self.client, self.grid = client, grid
        self.image = Image(id=image) if image else None
        self.known = bool(image)
        self._upload = upload

    def ask(self, state: State, task: str, question: str, seen: Sequence[float] | None) -> State:
        """The state with the server's answer in it; see `prompts.request` for the arguments.

        A volume that the server has forgotten, because it was started anew or the volume's time ran out, is sent once more.

        Raises:
            MimoError: it cannot be asked, or not be answered.
        """
        params = request(task, question, state.marks, self.grid, seen)
        fresh = self.image is None
        image = self.image = self.image or self._upload()
        try:
            reply, found = self.client.ask(task, image, params)
        except ServerError as error:
            if self.known or fresh or error.status != 404:
                raise
            self.image = self._upload()
            reply, found = self.client.ask(task, self.image, params)
        return replace(state, answer=read_answer(question.strip(), reply, found, self.grid))

    def decide(self, state: State, number: int, accept: bool, reviewer: str) -> State:
        """The state after an entity of its answer was accepted or rejected; the server's audit log is told."""
        answer = state.answer
        if answer is None or number not in answer.open:
            return state
        entity = answer.entities[number]
        if self.image is not None:
            self.client.decided(self.image, entity.phrase, entity.score, "accept" if accept else "reject", reviewer)
        after = replace(state, answer=decided(answer, number, ACCEPTED if accept else REJECTED))
        if not accept:
            return after
        answers = dict.fromkeys((*state.answers, (answer.question, answer.text)))
        return replace(after, accepted=accepted(state.accepted, answer, number), answers=tuple(answers))

    def save(self, state: State, reviewer: str, model: dict[str, Any] | None, report: bool) -> str:
        """Save what is accepted as the final label of the image.

        Returns:
            A sentence about it.

        Raises:
            MimoError: it cannot be saved.
        """
        if not self.known or self.image is None:
            raise MimoError(
                "This volume is not one of the server's studies: save the segmentation with 3D Slicer itself."
            )
        if not reviewer.strip():
            raise MimoError("Type your name first: it is saved with what you accepted.")
        labels, names, colors = label_map(state.accepted)
        info = [{"name": name, "idx": value, "color": colors.get(value)} for name, value in names.items()]
        params: dict[str, Any] = {
            "label_names": names,
            "label_info": info,
            "reviewer": reviewer.strip(),
            "model": model or {},
        }
        if report:
            params["report"] = [{"question": question, "answer": answer} for question, answer in state.answers]
        self.client.save(self.image, nrrd.write(labels, self.grid), params)
        count = len(colors)
        segments = "one segment" if count == 1 else f"{count} segments"
        return f"Saved {segments}{' with a report' if report else ''}, reviewed by {reviewer.strip()}."
