"""The page of `mimo review`: a local Gradio app that shows a `ReviewQueue`. Nothing of it needs the network."""

from __future__ import annotations

import json
from typing import Any

from ...errors import MimoError
from ...local_page import gr, launch
from ..questions.knowledge import load_knowledge
from .queue import KEYS, ReviewQueue
from .row_html import CSS, row_html

# While a text is edited, letters are letters: only Escape and Ctrl+Enter are keys then.
SCRIPT = (
    f"<script>const KEYS = {json.dumps(KEYS)};"
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


def make_page(queue: ReviewQueue) -> gr.Blocks:
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


def serve(queue: ReviewQueue, host: str, port: int, *, block: bool = True) -> str:
    """Serve the page and return its address."""
    return launch(make_page(queue), host, port, block=block, css=CSS, head=SCRIPT)
