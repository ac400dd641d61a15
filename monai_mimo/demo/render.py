"""An answer as HTML. Whatever comes from a file, a person or the model is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..inference.safeguards import NOTICE, Guarded
from ..visualize import html_answer, html_phrase, phrase_colors

CSS = """
.gradio-container { max-width: 1240px !important; }
#picture img { cursor: crosshair; touch-action: none; }
.form:has(> #stroke), #stroke { display: none; }
#answer p.text { font-size: 1.25em; line-height: 1.5; margin: .2em 0 .8em; overflow-wrap: anywhere; }
#answer mark { color: inherit; padding: 0 .15em; border-radius: 3px; font-weight: 600; }
#answer table { border-collapse: collapse; border: none !important; width: 100%; margin-bottom: .8em; }
#answer td, #answer th { text-align: left; padding: .25em .6em .25em 0; border: none !important; }
#answer tr { border: none; border-bottom: 1px solid rgba(128,128,128,.3); }
#answer th { font-weight: 500; opacity: .65; font-size: .85em; }
#answer .low { border: 1px solid currentColor; border-radius: 1em; padding: 0 .6em; font-size: .85em; white-space: nowrap; }
#answer .warning { margin: .2em 0; }
#answer .notice { opacity: .75; font-size: .9em; margin: .4em 0 0; }
#answer .advice { border-left: 4px solid #d55e00; padding: .3em .7em; margin: .6em 0; }
#answer .empty { opacity: .65; }
#notes ul { margin: .2em 0; padding-left: 1.2em; overflow-wrap: anywhere; }
#problem [role=alert] { border-left: 4px solid #d55e00; padding: .4em .8em; margin: .4em 0; overflow-wrap: anywhere; }
"""


def render(guarded: Guarded | None) -> str:
    """The answer with coloured phrases, a table of them, and the lines that must stand beside it."""
    if guarded is None:
        return f'<div id="answer"><p class="empty">No answer yet.</p><p class="notice">{escape(NOTICE)}</p></div>'
    answer = guarded.answer
    colors = phrase_colors(len(answer.entities))
    text = (
        html_answer(answer.text, [e.span for e in answer.entities], colors) or '<span class="empty">(no words)</span>'
    )
    rows = ""
    for entity, status, color in zip(answer.entities, guarded.statuses, colors):
        area = f"{int(entity.mask.sum())} px"
        if answer.spacing_mm is not None:
            area += f", {entity.mask.sum() * answer.spacing_mm[0] * answer.spacing_mm[1] / 100:.1f} cm²"
        mark = ' <span class="low">uncertain</span>' if status == "uncertain" else ""
        rows += f"<tr><td>{html_phrase(entity.phrase, color)}{mark}</td><td>{area}</td><td>{entity.score:.2f}</td></tr>"
    table = f"<table><tr><th>phrase</th><th>area</th><th>score</th></tr>{rows}</table>" if rows else ""
    told = "".join(f'<p class="warning">{escape(w)}</p>' for w in answer.warnings if not w.startswith("uncertain: "))
    notice, *advice = guarded.notices
    lines = "".join(f'<p class="advice">{escape(line)}</p>' for line in advice)
    model = f"{answer.model.get('preset', '')} {answer.model.get('weights', '')}".strip()
    foot = f'<p class="notice">{escape(notice)} Model: {escape(model)}.</p>'
    return f'<div id="answer">{lines}<p class="text">{text}</p>{table}{told}{foot}</div>'


def render_problem(message: str) -> str:
    """A plain sentence about what went wrong; empty: nothing."""
    return f'<div role="alert">{escape(message)}</div>' if message else ""


def render_notes(notes: Sequence[str]) -> str:
    """What was odd about the file of an image and what was made of it; empty: nothing."""
    lines = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul aria-label="notes on the file">{lines}</ul>' if lines else ""
