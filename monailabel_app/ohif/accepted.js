// What a person accepted: the segments of one segmentation, shown, hidden, taken out again, and saved.

import { css } from './answer_view.js';
import { countLabels, middleOf } from './answer.js';
import * as client from './client.js';
import { fill, h } from './dom.js';
import { Masks } from './masks.js';
import { writeNrrd } from './nrrd.js';

const REVIEWER = 'mimo-reviewer';
const REPORT = 'mimo-report'; // whether a report is saved, too
const MOST = 255; // that many segments a label map of one byte holds

export const reviewer = () => localStorage.getItem(REVIEWER);

export class Accepted {
  /**
   * @param {object} viewer OHIF's globals
   * @param {object} actions `goTo(view, voxel)`, `say(text, isError)`, `busy(yes)` and `opacity(value)`
   */
  constructor(viewer, actions) {
    this.masks = new Masks(viewer, 'mimo-accepted', 'MIMO accepted');
    this.actions = actions;
    this.kept = null; // {view, voxels, segments: [{name, color}], answers: [{question, answer}], unsaved, model}
    this.reports = false; // whether the server can save a report
    this.asking = null; // the form that asks for the reviewer's name
    this.root = h('section', { 'aria-label': 'Accepted', 'data-mimo': 'kept' });
  }

  /**
   * Take over the voxels of an answer's entity; under a name that is there already they join that segment.
   * @returns {Promise<boolean>} whether it was taken
   */
  async take({ view, voxels, reply }, entity) {
    if (this.kept?.view.series !== view.series) {
      const question = 'The accepted masks of the other series are not saved. Drop them?';
      if (this.kept?.unsaved && !window.confirm(question)) return false;
      this.kept = { view, voxels: new Uint8Array(voxels.length), segments: [], answers: [] };
      this.masks.hidden.clear();
    }
    const { kept } = this;
    let index = kept.segments.findIndex(({ name }) => name === entity.phrase) + 1;
    if (!index && kept.segments.length >= MOST) {
      this.actions.say(`A segmentation holds ${MOST} segments at most.`, true);
      return false;
    }
    index ||= kept.segments.push({ name: entity.phrase, color: entity.color });
    for (let n = 0; n < voxels.length; n++) {
      if (voxels[n] === entity.label) kept.voxels[n] = index;
    }
    const { question, answer } = reply;
    if (!kept.answers.some(said => said.question === question && said.answer === answer)) {
      kept.answers.push({ question, answer });
    }
    Object.assign(kept, { unsaved: true, model: reply.model });
    await this.#refresh();
    return true;
  }

  async #refresh() {
    const { view, voxels, segments } = this.kept;
    await this.masks.show(view.displaySet, view.grid, voxels, segments);
    this.#showList();
  }

  #showList() {
    const { kept } = this;
    if (!kept?.segments.length) {
      fill(this.root);
      return;
    }
    const opacity = h('input', {
      type: 'range',
      min: 0,
      max: 100,
      value: Math.round(this.masks.opacity * 100),
      'aria-label': 'Opacity',
      'data-mimo': 'opacity',
      on: { input: event => this.actions.opacity(event.target.value / 100) },
    });
    fill(
      this.root,
      h('h3', {}, 'Accepted'),
      kept.segments.map((segment, number) => this.#row(segment, number + 1)),
      h('label', { class: 'mimo-row' }, 'Opacity', opacity),
      this.asking ?? this.#saveRow()
    );
  }

  #saveRow() {
    const { unsaved } = this.kept;
    const options = { class: 'mimo-ask', 'data-mimo': 'save', disabled: !unsaved, on: { click: () => this.save() } };
    const who = reviewer() && `as ${reviewer()}`;
    return h('div', { class: 'mimo-row' }, h('button', options, unsaved ? 'Save' : 'Saved'), who, this.#reportBox());
  }

  #reportBox() {
    if (!this.reports) return null;
    const box = h('input', {
      type: 'checkbox',
      'data-mimo': 'report',
      on: { change: () => localStorage.setItem(REPORT, box.checked ? 'yes' : '') },
    });
    box.checked = localStorage.getItem(REPORT) === 'yes';
    const title = 'Save the questions, the answers, volumes and areas as a DICOM SR, too';
    return h('label', { title }, box, ' with report');
  }

  #row({ name, color }, index) {
    const hidden = this.masks.hidden.has(index);
    const on = {
      click: () => this.#jump(index),
      mouseenter: () => this.masks.highlight(index),
      mouseleave: () => this.masks.highlight(0),
    };
    const toggle = { 'aria-label': `${hidden ? 'Show' : 'Hide'} ${name}`, 'data-mimo': 'toggle', on: { click: () => this.#toggle(index) } };
    const remove = { title: 'Take it out again', 'aria-label': `Remove ${name}`, 'data-mimo': 'remove' };
    return h(
      'div',
      { class: 'mimo-entity', 'data-mimo-kept': index },
      h('span', { class: 'mimo-chip', style: { '--mimo-color': css(color) } }),
      h('button', { class: 'mimo-link mimo-name', title: 'Go to its slice', on }, name),
      h('button', toggle, hidden ? 'Show' : 'Hide'),
      h('button', { ...remove, on: { click: () => this.#remove(index) } }, '✗')
    );
  }

  #jump(index) {
    const middle = middleOf(this.kept.voxels, index, this.kept.view.grid);
    if (middle) this.actions.goTo(this.kept.view, middle);
  }

  #toggle(index) {
    const { hidden } = this.masks;
    if (!hidden.delete(index)) hidden.add(index);
    this.masks.paint();
    this.#showList();
  }

  async #remove(index) {
    const { kept } = this;
    kept.segments.splice(index - 1, 1);
    kept.voxels.forEach((value, n) => {
      if (value === index) kept.voxels[n] = 0;
      else if (value > index) kept.voxels[n] = value - 1;
    });
    kept.unsaved = kept.segments.length > 0;
    this.masks.hidden.clear();
    this.masks.highlighted = 0;
    await this.#refresh();
  }

  /** Save as final; the reviewer's name is asked for the first time. */
  async save() {
    if (!reviewer()) {
      this.#askForName();
      return;
    }
    const { kept } = this;
    const { view, voxels, segments, model } = kept;
    this.actions.busy(true);
    this.actions.say('Saving ...');
    try {
      const present = countLabels(voxels);
      const label_info = segments
        .map(({ name, color }, number) => ({ name, idx: number + 1, color }))
        .filter(({ idx }) => present[idx] > 0);
      const label_names = Object.fromEntries(label_info.map(({ name, idx }) => [name, idx]));
      const params = { label_info, label_names, reviewer: reviewer(), model };
      const report = this.reports && localStorage.getItem(REPORT) === 'yes';
      if (report) params.report = kept.answers;
      await client.save(view.series, await writeNrrd(voxels, view.grid), params);
      kept.unsaved = false;
      const count = label_info.length === 1 ? 'one segment' : `${label_info.length} segments`;
      this.actions.say(`Saved ${count}${report ? ' with a report' : ''}, reviewed by ${reviewer()}.`);
    } catch (error) {
      this.actions.say(`Not saved. ${error.message}`, true);
    } finally {
      this.actions.busy(false);
      this.#showList();
    }
  }

  #askForName() {
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
      localStorage.setItem(REVIEWER, name.value.trim());
      this.asking = null;
      this.save();
    };
    const button = h('button', { class: 'mimo-ask', type: 'submit', 'data-mimo': 'reviewer-ok' }, 'Save');
    this.asking = h('form', { class: 'mimo-row', on: { submit } }, name, button);
    this.#showList();
    name.focus();
  }
}
