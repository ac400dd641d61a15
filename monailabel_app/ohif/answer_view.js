// An answer on the page: its text with the phrases in their colours, and a row for each phrase to decide on.

import { colorOf, countLabels, middleOf, pieces } from './answer.js';
import { fill, h } from './dom.js';
import { Masks } from './masks.js';

export const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;

/** What the server marked, as uncertain or withheld. */
const isLow = ({ status }) => status === 'uncertain' || status === 'withheld';

export class AnswerView {
  /**
   * @param {object} viewer OHIF's globals
   * @param {object} actions `accept(entity)`, `reject(entity)`, and `goTo(view, voxel)`
   */
  constructor(viewer, actions) {
    this.masks = new Masks(viewer, 'mimo-answer', 'MIMO answer');
    this.actions = actions;
    this.answer = null; // {reply, voxels, entities: [{phrase, label, score, color, state, size}], view}
    this.root = h('section', {
      class: 'mimo-answer',
      'aria-label': 'Answer',
      'aria-live': 'polite',
      'data-mimo': 'answer',
    });
  }

  /** Show a new answer; `voxels` is its label map on the grid of `view`. */
  async set(view, reply, voxels) {
    const counts = countLabels(voxels);
    const entities = (reply.entities ?? []).map((entity, number) => ({
      ...entity,
      color: colorOf(number),
      state: 'new',
      size: counts[entity.label] ?? 0,
    }));
    this.answer = { reply, voxels, entities, view };
    await this.#showMasks();
    this.#showText();
  }

  /** Take a phrase's voxels out of the answer: it was accepted elsewhere, or rejected. */
  async close(entity, state) {
    const { voxels } = this.answer;
    for (let n = 0; n < voxels.length; n++) {
      if (voxels[n] === entity.label) voxels[n] = 0;
    }
    entity.state = state;
    await this.#showMasks();
    this.#showText();
    this.root.querySelector('[data-mimo="accept"]:not(:disabled)')?.focus();
  }

  async #showMasks() {
    const { view, voxels, entities } = this.answer;
    const segments = [];
    for (const { label, phrase, color } of entities) segments[label - 1] = { name: phrase, color };
    for (let n = 0; n < segments.length; n++) segments[n] ??= { name: `label ${n + 1}`, color: colorOf(n) };
    this.masks.highlighted = 0;
    if (segments.length || this.masks.series) await this.masks.show(view.displaySet, view.grid, voxels, segments);
  }

  #showText() {
    const { reply, entities } = this.answer;
    const words = pieces(reply.answer ?? '', entities).map(({ text, entity }) =>
      entity === null ? text : this.#phrase(entities[entity], text)
    );
    const notices = [reply.notices ?? reply.notice ?? []].flat();
    fill(
      this.root,
      h('p', { class: 'mimo-text', 'data-mimo': 'text' }, words.length ? words : 'The model gave no answer.'),
      entities.map(entity => this.#row(entity)),
      (reply.warnings ?? []).map(warning => h('p', { class: 'mimo-warning' }, warning)),
      notices.map(notice => h('p', { class: 'mimo-small', 'data-mimo': 'notice' }, notice))
    );
  }

  /** What hovering, clicking and keys do, for a phrase in the text and for its row alike. */
  #handlers(entity) {
    const show = () => this.masks.highlight(entity.state === 'new' ? entity.label : 0);
    const hide = () => this.masks.highlight(0);
    const keydown = ({ key }) => {
      if (key === 'a') this.actions.accept(entity);
      else if (key === 'r') this.actions.reject(entity);
    };
    return { mouseenter: show, mouseleave: hide, focus: show, blur: hide, click: () => this.#jump(entity), keydown };
  }

  #phrase(entity, text) {
    const options = {
      class: `mimo-phrase mimo-${entity.state}`,
      style: { '--mimo-color': css(entity.color) },
      title: 'Click: go to its slice. Keys: a accepts, r rejects.',
      'data-mimo-phrase': entity.label,
      on: this.#handlers(entity),
    };
    return h('button', options, text);
  }

  #row(entity) {
    const done = entity.state !== 'new';
    const decide = (name, sign, disabled) =>
      h(
        'button',
        {
          title: `${name} (${name[0].toLowerCase()})`,
          'aria-label': `${name} ${entity.phrase}`,
          'data-mimo': name.toLowerCase(),
          disabled,
          on: { click: () => this.actions[name.toLowerCase()](entity) },
        },
        sign
      );
    const score = isLow(entity) && !done ? 'mimo-score mimo-low' : 'mimo-score';
    return h(
      'div',
      { class: `mimo-entity mimo-${entity.state}`, 'data-mimo-entity': entity.label },
      h('span', { class: 'mimo-chip', style: { '--mimo-color': css(entity.color) } }),
      h(
        'button',
        { class: 'mimo-link mimo-name', title: 'Go to its slice', on: this.#handlers(entity) },
        entity.phrase
      ),
      h('span', { class: score, title: 'How sure the model is of this mask' }, scoreText(entity)),
      decide('Accept', '✓', done || !entity.size),
      decide('Reject', '✗', done)
    );
  }

  #jump(entity) {
    const { view, voxels } = this.answer;
    entity.middle ??= middleOf(voxels, entity.label, view.grid);
    if (entity.middle) this.actions.goTo(view, entity.middle);
  }
}

function scoreText(entity) {
  const number = typeof entity.score === 'number' ? entity.score.toFixed(2) : '';
  if (entity.state === 'accepted' || entity.state === 'rejected') return `${number} ${entity.state}`;
  if (!entity.size) return `${number} no mask`;
  return isLow(entity) ? `${number} ${entity.status}` : number;
}
