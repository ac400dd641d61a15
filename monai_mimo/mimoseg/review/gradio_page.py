"""The page of `mimo review`: a local Gradio app that shows a `ReviewQueue`, each row as HTML. Nothing of it needs the network.
Whatever comes from the data set is escaped; pictures are inside the page, so none is left in a cache.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from ...errors import MimoError
from ...local_page import gr, launch
from ...visualize import Color, data_url, html_answer, html_phrase, overlay, phrase_colors
from ..encoding import decode_rle, plain_answer
from ..questions.knowledge import Knowledge, load_knowledge
from .decisions import Decision
from .queue import SHORTCUTS, ReviewQueue

PERSPECTIVE_CHOICES = (
    "VQA",
    "I, instruction",
    "II, visual clue",
    "III, reasoning",
    "IV, reasoning on a visual clue",
    "V, measured",
)
DONE = {"keep": "kept", "drop": "dropped", "edit": "edited"}

CSS = """
.gradio-container { max-width: 1280px !important; }
#row .top { display: flex; gap: 1em; align-items: baseline; flex-wrap: wrap; }
#row .faint { opacity: .65; font-size: .85em; }
#row .state { padding: .1em .7em; border-radius: 1em; border: 1px solid currentColor; font-size: .85em; }
#row .bar { height: 6px; background: rgba(128,128,128,.25); border-radius: 3px; margin: .5em 0 1em; }
#row .bar div { height: 6px; background: #0072b2; border-radius: 3px; }
#row .cols { display: flex; gap: 1.2em; flex-wrap: wrap; }
#row figure { margin: 0; flex: 1 1 280px; max-width: 400px; }
#row figure img { width: 100%; background: #000; border-radius: 4px; display: block; }
#row .texts { flex: 2 1 380px; }
#row .texts h4 { margin: .1em 0 .2em; font-weight: 600; opacity: .65; font-size: .85em; }
#row .texts p { margin: 0 0 1em; font-size: 1.15em; line-height: 1.5; }
#row mark { color: inherit; padding: 0 .15em; border-radius: 3px; font-weight: 600; }
#row .prompt { font-family: monospace; border: 1px solid currentColor; border-radius: 3px; padding: 0 .3em; font-size: .85em; }
#row details { margin: .3em 0; }
#row summary { cursor: pointer; }
"""


def row_html(
    row: Mapping[str, Any],
    decision: Decision | None,
    position: int,
    count: int,
    progress: Counter[str],
    split: str,
    knowledge: Mapping[str, Knowledge],
) -> str:
    """The page about one row.

    Args:
        position: of the row in the review, from 0; count: of all rows there.
        progress: how many are kept, dropped, edited and open.
        knowledge: entries by entity, those of the row's entities are shown.
    """
    phrases = [entity["phrase"] for entity in row["entities"]]
    colors = phrase_colors(len(phrases))
    state = (
        "open" if decision is None else f"{DONE[decision.decision]} by {decision.reviewer}, {decision.time[:16]} UTC"
    )
    about = [row["id"], row["source"], row["modality"], row["sequence"], split, row["template"]]
    decided = count - progress["open"]
    return f"""<div id="row" data-position="{position}">
<div class="top"><b>{position + 1} of {count}</b><span class="state">{escape(state)}</span>
<span>perspective {PERSPECTIVE_CHOICES[row["perspective"]]}</span>
<span class="faint">{escape(" · ".join(text for text in about if text))}</span></div>
<div class="top faint"><span>{decided} decided: {progress["keep"]} kept, {progress["edit"]} edited, {progress["drop"]}
dropped; {progress["open"]} open</span></div>
<div class="bar"><div style="width: {100 * decided / count:.1f}%"></div></div>
<div class="cols">{_pictures(row, colors)}
<div class="texts"><h4>Question</h4><p>{_question(row["question"])}</p>
<h4>Answer</h4><p>{html_answer(*plain_answer(row["answer"]), colors)}</p>
{_knowledge(phrases, colors, knowledge)}</div></div></div>"""


def _pictures(row: Mapping[str, Any], colors: Sequence[Color]) -> str:
    pixels = np.asarray(row["image"].convert("RGB"))
    masks = [decode_rle(entity["mask"]) for entity in row["entities"]]
    shown = [
        ("image and prompt", overlay(pixels, [], [], row["points"], row["boxes"])),
        ("masks", overlay(pixels, masks, colors, row["points"], row["boxes"])),
    ]
    return "".join(
        f'<figure><img alt="{name}" src="{data_url(picture)}"><figcaption class="faint">{name}</figcaption></figure>'
        for name, picture in shown
    )


def _question(text: str) -> str:
    parts = re.split("(<point>|<box>)", text)
    return "".join(
        f'<span class="prompt">{part[1:-1]}</span>' if part in ("<point>", "<box>") else escape(part) for part in parts
    )


def _knowledge(phrases: Sequence[str], colors: Sequence[Color], knowledge: Mapping[str, Knowledge]) -> str:
    """What the entries say about the entities, and whether a clinician has read them."""
    parts = []
    for phrase, color in zip(phrases, colors):
        entry = knowledge.get(phrase)
        if entry is None:
            continue
        facts = "".join(
            f"<li><i>{aspect}</i>: {escape('; '.join(predicates))}</li>" for aspect, predicates in entry.facts.items()
        )
        warning = "" if entry.reviewed else '<span class="state">not reviewed by a clinician</span>'
        sources = escape("; ".join(entry.sources))
        parts.append(
            f"<details open><summary>{html_phrase(phrase, color)} {warning}</summary><ul>{facts}</ul>"
            f'<div class="faint">{sources}</div></details>'
        )
    return "<h4>Knowledge entries</h4>" + "".join(parts) if parts else ""


# While a text is edited, letters are letters: only Escape and Ctrl+Enter are keys then.
SCRIPT = (
    f"<script>const KEYS = {json.dumps(SHORTCUTS)};"
    + """
document.addEventListener('keydown', event => {
  const seen = id => { const e = document.getElementById(id); return e && e.offsetParent !== null ? e : null; };
  const press = id => { const e = seen(id); if (e) { event.preventDefault(); e.click(); } };
  if (seen('save')) {
    if (event.key === 'Escape') press('cancel');
    if (event.key === 'Enter' && event.ctrlKey) press('save');
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (['INPUT', 'TEXTAREA'].includes(event.target.tagName)) return;
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (KEYS[name]) press(KEYS[name]);
});
</script>"""
)


def make_review_page(queue: ReviewQueue) -> gr.Blocks:
    """The page of one review. The position goes to the browser and back, so a key always means the row that is shown."""
    knowledge = load_knowledge()

    def show(position: int) -> dict[Any, Any]:
        row = queue.row(position)
        html = row_html(
            row,
            queue.decision(position),
            position,
            len(queue.refs),
            queue.progress(),
            queue.refs[position].split,
            knowledge,
        )
        return {place: position, view: html, editor: gr.update(visible=False), problem: ""}

    def act(action: str, position: int) -> dict[Any, Any]:
        try:
            return show(queue.act(action, int(position)))
        except MimoError as error:
            raise gr.Error(str(error)) from error

    def open_editor(position: int) -> dict[Any, Any]:
        row = queue.row(int(position))
        return {
            editor: gr.update(visible=True),
            question: row["question"],
            answer: row["answer"],
            problem: "",
        }

    def save(position: int, new_question: str, new_answer: str) -> dict[Any, Any]:
        try:
            queue.decide(int(position), "edit", new_question, new_answer)
        except MimoError as error:
            return {problem: str(error)}
        return show(queue.step(int(position), 1))

    def reload() -> dict[Any, Any]:
        queue.refresh()
        return show(queue.first_open())

    with gr.Blocks(title="mimo review", analytics_enabled=False) as page:
        place = gr.Number(0, visible="hidden", precision=0)
        with gr.Row():
            back = gr.Button("← back", elem_id="back", min_width=90)
            keep = gr.Button("K keep", elem_id="keep", variant="primary", min_width=90)
            drop = gr.Button("D drop", elem_id="drop", variant="stop", min_width=90)
            edit = gr.Button("E edit", elem_id="edit", min_width=90)
            forward = gr.Button("→ next", elem_id="next", min_width=90)
            following = gr.Button("next open", elem_id="next-open", min_width=90)
        with gr.Group(visible=False) as editor:
            question = gr.Textbox(label="Question", lines=2, elem_id="question", max_length=4000)
            answer = gr.Textbox(label="Answer, with its tags", lines=4, elem_id="answer", max_length=4000)
            problem = gr.Textbox(label="Not saved", elem_id="problem", interactive=False)
            with gr.Row():
                saved = gr.Button("Save (Ctrl+Enter)", elem_id="save", variant="primary", min_width=90)
                cancelled = gr.Button("Cancel (Esc)", elem_id="cancel")
        view = gr.HTML()

        shown = [place, view, editor, problem]
        for button, action in ((back, "back"), (keep, "keep"), (drop, "drop"), (forward, "next")):
            button.click(lambda position, a=action: act(a, position), [place], shown, show_progress="hidden")
        following.click(lambda position: show(queue.first_open(int(position))), [place], shown, show_progress="hidden")
        edit.click(open_editor, [place], [editor, question, answer, problem], show_progress="hidden")
        saved.click(save, [place, question, answer], shown, show_progress="hidden")
        cancelled.click(lambda: gr.update(visible=False), None, [editor], show_progress="hidden")
        page.load(reload, None, shown, show_progress="hidden")
    return page


def serve_review(queue: ReviewQueue, host: str, port: int, *, block: bool = True) -> str:
    """Serve the page and return its address."""
    return launch(make_review_page(queue), host, port, block=block, css=CSS, head=SCRIPT)
