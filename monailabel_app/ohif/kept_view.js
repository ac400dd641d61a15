// What was accepted: the list of its objects, how strongly masks are shown, and saving.

import { fill, h } from './dom.js';
import { objectRow } from './object_row.js';
import { reviewer, setReviewer, setWantsReport, wantsReport } from './saving.js';

export class KeptView {
  /**
   * @param {(action: string, object: object) => void} act
   * @param {{opacity: (value: number) => void, save: () => void}} on
   */
  constructor(act, on) {
    Object.assign(this, { act, on, reports: false, asking: null });
    this.root = h('section', { 'aria-label': 'Accepted', 'data-mimo': 'kept' });
  }

  /**
   * @param {object[]} kept as object_row.js takes them
   * @param {{opacity: number, unsaved: boolean, voxelMl: number | null}} how
   */
  show(kept, how) {
    this.shown = [kept, how];
    if (!kept.length && !how.unsaved) {
      fill(this.root);
      return;
    }
    const opacity = h('input', {
      type: 'range',
      min: 0,
      max: 100,
      value: Math.round(how.opacity * 100),
      'aria-label': 'Opacity',
      'data-mimo': 'opacity',
      on: { input: event => this.on.opacity(event.target.value / 100) },
    });
    fill(
      this.root,
      h('h3', {}, 'Accepted'),
      kept.map((object, n) => objectRow(object, how.voxelMl, this.act, { 'data-mimo-kept': n + 1 })),
      h('label', { class: 'mimo-row' }, 'Opacity', opacity),
      this.asking ?? this.#saveRow(kept, how)
    );
  }

  #saveRow(kept, { unsaved }) {
    const off = !unsaved || !kept.length;
    const options = { class: 'mimo-ask', 'data-mimo': 'save', disabled: off, on: { click: () => this.on.save() } };
    const who = reviewer() && `as ${reviewer()}`;
    return h('div', { class: 'mimo-row' }, h('button', options, unsaved ? 'Save' : 'Saved'), who, this.#reportBox());
  }

  #reportBox() {
    if (!this.reports) return null;
    const on = { change: () => setWantsReport(box.checked) };
    const box = h('input', { type: 'checkbox', 'data-mimo': 'report', on });
    box.checked = wantsReport();
    const title = 'Save the questions, the answers, volumes and areas as a DICOM SR, too';
    return h('label', { title }, box, ' with report');
  }

  /** Ask for the reviewer's name, then save. */
  askForName() {
    const name = h('input', {
      type: 'text',
      maxlength: 64,
      required: true,
      placeholder: 'Your name',
      'aria-label': 'Your name',
      'data-mimo': 'reviewer',
    });
    const submit = event => {
      event.preventDefault();
      if (!name.value.trim()) return;
      setReviewer(name.value.trim());
      this.asking = null;
      this.on.save();
    };
    const button = h('button', { class: 'mimo-ask', type: 'submit', 'data-mimo': 'reviewer-ok' }, 'Save');
    this.asking = h('form', { class: 'mimo-row', on: { submit } }, name, button);
    this.show(...this.shown);
    name.focus();
  }
}
