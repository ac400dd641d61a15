"""The page of `mimo demo`: a local Gradio app that shows a `Session`. Nothing of it needs the network."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, MimoError, SeveralError
from ..inference import MimoPredictor
from ..inference.safeguards import NOTICE, Guarded, Thresholds
from ..local_page import gr, launch
from ..mimoseg.categories import MODALITIES
from ..phantom.writer import write_pictures, write_volume
from ..transforms.medical_image import PLANES
from ..transforms.reading import PICTURES, VOLUMES, has_suffix
from ..visualize import html_answer, html_phrase, phrase_colors
from .session import LONGEST_QUESTION, TOOLS, Session

MOST = 50


@dataclass(frozen=True)
class Example:
    """`files` of one image, with a question to begin with and, when the image does not tell it, its modality."""

    name: str
    files: Sequence[Path]
    question: str
    modality: str | None = None


QUESTIONS = {
    "CT": "Segment the liver and the spleen.",
    "MR": "Where is the tumor?",
    "X-ray": "Segment the left lung and the right lung.",
}


def phantom_examples(folder: Path) -> list[Example]:
    """One phantom of each of three modalities, written into `folder`."""
    examples = []
    for number, (modality, question) in enumerate(QUESTIONS.items()):
        write = write_pictures if modality == "X-ray" else write_volume
        [case, *_] = write(folder, modality, 0, np.random.default_rng([7, number]), 7)
        examples.append(Example(f"{modality} (phantom)", [folder / case["image"]], question, modality))
    return examples


def folder_examples(folder: Path) -> list[Example]:
    """The images directly in `folder`, and each folder in it as a DICOM series; the first fifty by name.

    Raises:
        InputError: there is none.
    """
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a folder of images")
    examples = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
            if not files:
                continue
        elif has_suffix(path, (*PICTURES, *VOLUMES, ".dcm")):
            files = [path]
        else:
            continue
        examples.append(Example(path.name, files, ""))
    if not examples:
        raise InputError(folder, "no image", "PNG, JPEG, NIfTI or DICOM files, or folders with a DICOM series each")
    return examples[:MOST]


LARGEST_FILE = "1gb"
FORGET_AFTER = 2 * 3600  # seconds after which a visitor's image is dropped
UNKNOWN = "as the file says"


# Where a brush is chosen, what is drawn on the picture goes to the server as JSON, in pixels of the picture.
BRUSH = """() => {
  let places = null, line = null;
  const picture = e => e.target.closest('#picture')?.querySelector('img');
  const chosen = () => document.querySelector('#tool input:checked')?.value.startsWith('brush');
  const at = (e, img) => {
    const r = img.getBoundingClientRect(), scale = Math.min(1, r.width / img.naturalWidth, r.height / img.naturalHeight);
    const left = r.left + (r.width - img.naturalWidth * scale) / 2, top = r.top + (r.height - img.naturalHeight * scale) / 2;
    return [(e.clientX - left) / scale, (e.clientY - top) / scale];
  };
  document.addEventListener('pointerdown', e => {
    const img = picture(e);
    if (!img || !chosen() || e.target.closest('button:not(:has(img))')) return;
    e.preventDefault();
    places = [at(e, img)];
    line = document.body.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'svg'));
    line.style = 'position:fixed;inset:0;width:100vw;height:100vh;pointer-events:none;z-index:99';
    line.innerHTML = `<polyline points="${e.clientX},${e.clientY}" fill="none" stroke="lime" stroke-width="3"/>`;
  }, true);
  document.addEventListener('pointermove', e => {
    const img = document.querySelector('#picture img');
    if (!places || !img) return;
    places.push(at(e, img));
    const drawn = line.firstChild;
    drawn.setAttribute('points', drawn.getAttribute('points') + ` ${e.clientX},${e.clientY}`);
  }, true);
  document.addEventListener('dragstart', e => { if (places) e.preventDefault(); }, true);
  document.addEventListener('pointerup', () => {
    if (!places) return;
    const box = document.querySelector('#stroke textarea, #stroke input');
    box.value = JSON.stringify({places, when: Date.now()});
    box.dispatchEvent(new Event('input', {bubbles: true}));
    line.remove();
    places = line = null;
  }, true);
}"""


def make_demo_page(predictor: MimoPredictor, thresholds: Thresholds, examples: Sequence[Example]) -> gr.Blocks:
    """The page; each visitor has a `Session` of their own, and all share the model."""
    by_name = {example.name: example for example in examples}

    def shown(session: Session, message: str = "") -> dict[Any, Any]:
        """Everything that an action may have changed."""
        image = session.image
        listed = {one: gr.update(choices=[], value=None, visible=False), problem: render_problem(message)}
        if session.several is not None:
            choices = [(text, number) for number, text in enumerate(session.several.choices)]
            label = session.several.argument.capitalize()
            listed[one] = gr.update(choices=choices, value=session.chosen, label=label, visible=True)
        if image is None:
            return listed
        several = image.n_slices > 1
        return {
            **listed,
            picture: session.picture(),
            slice_: gr.update(
                value=session.number, maximum=max(1, image.n_slices - 1), visible=several, interactive=several
            ),
            plane: gr.update(visible=image.is_volume),
            answer: render(session.guarded),
            downloads: gr.update(value=[str(f) for f in session.files()] or None, visible=session.guarded is not None),
            notes: render_notes(image.notes),
        }

    def act(session: Session, action: Callable[[], object]) -> dict[Any, Any]:
        try:
            action()
        except SeveralError as error:
            return shown(session, f"{len(error.choices)} images in {Path(error.where).name}: choose one of them.")
        except MimoError as error:
            return shown(session, f"{Path(error.where).name}: found {error.found}; expected {error.expected}.")
        return shown(session)

    def modality_of(choice: str) -> str | None:
        return None if choice == UNKNOWN else choice

    def open_files(session: Session, files: list[str] | None, plane_: str, modality_: str) -> dict[Any, Any]:
        return act(session, lambda: session.open(files or [], plane_, modality_of(modality_)))

    def open_example(session: Session, name: str, plane_: str) -> dict[Any, Any]:
        chosen = by_name[name]
        out = act(session, lambda: session.open(chosen.files, plane_, chosen.modality))
        return {**out, upload: None, question: chosen.question, modality: chosen.modality or UNKNOWN}

    def choose(session: Session, number: int, plane_: str, modality_: str) -> dict[Any, Any]:
        return act(session, lambda: session.choose(number, plane_, modality_of(modality_)))

    def reopen(session: Session, plane_: str, modality_: str) -> dict[Any, Any]:
        return act(session, lambda: session.reopen(plane_, modality_of(modality_)))

    def click(session: Session, tool_: str, event: gr.SelectData) -> dict[Any, Any]:
        x, y = event.index
        return act(session, lambda: session.click(x, y, tool_))

    def brush(session: Session, tool_: str, drawn: str) -> dict[Any, Any]:
        return act(session, lambda: session.brush(json.loads(drawn)["places"], tool_)) if drawn else {}

    def scroll(session: Session, number: float) -> dict[Any, Any]:
        """The slider itself is left where the hand is."""
        out = act(session, lambda: session.go(int(number)))
        return {part: value for part, value in out.items() if part is not slice_}

    with gr.Blocks(title="mimo demo", analytics_enabled=False, delete_cache=(600, FORGET_AFTER)) as page:
        visitor = gr.State(time_to_live=FORGET_AFTER, delete_callback=lambda s: s and s.close())
        with gr.Row():
            with gr.Column(scale=3, min_width=420):
                picture = gr.Image(
                    label="Image (click to point, or draw with a brush)",
                    elem_id="picture",
                    interactive=False,
                    format="png",
                    height=560,
                    buttons=["fullscreen"],
                )
                notes = gr.HTML(elem_id="notes")
                slice_ = gr.Slider(0, 1, step=1, label="Slice", elem_id="slice", visible=False)
                with gr.Row():
                    tool = gr.Radio(list(TOOLS), value=TOOLS[0], label="A click sets", elem_id="tool", scale=4)
                    with gr.Column(scale=1, min_width=110):
                        undo = gr.Button("Undo", elem_id="undo", size="sm")
                        clear = gr.Button("Clear prompts", elem_id="clear", size="sm")
                stroke = gr.Textbox(elem_id="stroke", show_label=False)  # what `BRUSH` writes, not shown
            with gr.Column(scale=2, min_width=340):
                example = gr.Dropdown(
                    list(by_name), value=None, label="Pick an example", elem_id="example", visible=bool(by_name)
                )
                upload = gr.File(
                    label="or drop an image: PNG, JPEG, NIfTI, DICOM (all files of a series together)",
                    file_count="multiple",
                    elem_id="upload",
                    height=130,
                )
                one = gr.Dropdown([], label="Series", elem_id="one", visible=False)
                with gr.Row():
                    modality = gr.Dropdown(
                        [UNKNOWN, *MODALITIES], value=UNKNOWN, label="Modality", elem_id="modality", min_width=140
                    )
                    plane = gr.Dropdown(list(PLANES), value="axial", label="Plane", visible=False, min_width=120)
                question = gr.Textbox(
                    label="Question (Enter asks)",
                    placeholder="What is this? Segment the left lung.",
                    elem_id="question",
                    max_lines=3,
                    max_length=LONGEST_QUESTION,
                )
                with gr.Row():
                    ask = gr.Button("Ask", variant="primary", elem_id="ask", scale=3)
                    refine = gr.Button("Refine", elem_id="refine", scale=2)
                problem = gr.HTML(elem_id="problem")
                answer = gr.HTML(render(None))
                downloads = gr.File(
                    label="Download: answer, picture, masks",
                    file_count="multiple",
                    interactive=False,
                    visible=False,
                    elem_id="downloads",
                )

        views = [picture, notes, slice_, one, plane, answer, downloads, problem]
        page.load(lambda: Session(predictor, thresholds), None, visitor, show_progress="hidden")
        upload.upload(open_files, [visitor, upload, plane, modality], views)
        example.input(open_example, [visitor, example, plane], [*views, upload, question, modality])
        one.input(choose, [visitor, one, plane, modality], views, show_progress="hidden")
        for choice in (plane, modality):
            choice.input(reopen, [visitor, plane, modality], views, show_progress="hidden")
        slice_.input(
            scroll,
            [visitor, slice_],
            [view for view in views if view is not slice_],
            trigger_mode="always_last",
            show_progress="hidden",
        )
        picture.select(click, [visitor, tool], views, show_progress="hidden")
        stroke.change(brush, [visitor, tool, stroke], views, show_progress="hidden")
        page.load(None, None, None, js=BRUSH)
        clear.click(lambda session: act(session, session.clear), [visitor], views, show_progress="hidden")
        undo.click(lambda session: act(session, session.undo), [visitor], views, show_progress="hidden")
        refine.click(
            lambda session: act(session, session.refine),
            [visitor],
            views,
            concurrency_id="model",
            show_progress_on=answer,
        )
        for event in (ask.click, question.submit):
            event(
                lambda session, text: act(session, lambda: session.ask(text)),
                [visitor, question],
                views,
                concurrency_id="model",  # one question at a time has all the cores
                show_progress_on=answer,
            )
    return page


def serve_demo(
    predictor: MimoPredictor,
    thresholds: Thresholds,
    examples: Sequence[Example],
    host: str,
    port: int,
    *,
    block: bool = True,
) -> str:
    """Serve the page and return its address. What visitors upload is removed when `block` ends."""
    with tempfile.TemporaryDirectory(prefix="mimo-demo-") as uploads:
        if block:
            os.environ["GRADIO_TEMP_DIR"] = uploads
        page = make_demo_page(predictor, thresholds, examples)
        return launch(page, host, port, block=block, max_file_size=LARGEST_FILE, css=CSS)


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
