// An answer on the page: its text with the phrases in their colours, and a row for each phrase to decide on.

import { notSaidTwice, pieces } from './answer.js';
import { fill, h } from './dom.js';
import { css, handlers, objectRow } from './object_row.js';

export class AnswerView {
  /** @param {(action: string, object: object) => void} act */
  constructor(act) {
    this.act = act;
    const live = { class: 'mimo-answer', 'aria-label': 'Answer', 'aria-live': 'polite', 'data-mimo': 'answer' };
    this.root = h('section', live);
  }

  /**
   * @param {object | null} answer as store.js has it
   * @param {object[]} entities its objects, as object_row.js takes them
   */
  show(answer, entities, voxelMl) {
    if (!answer) {
      fill(this.root);
      return;
    }
    const words = pieces(answer.answer ?? '', entities).map(({ text, entity }) =>
      entity === null ? text : this.#phrase(entities[entity], text)
    );
    fill(
      this.root,
      h('p', { class: 'mimo-text', 'data-mimo': 'text' }, words.length ? words : 'The model gave no answer.'),
      entities.map(entity => objectRow(entity, voxelMl, this.act, { 'data-mimo-entity': entity.number })),
      notSaidTwice(answer.warnings, entities).map(warning => h('p', { class: 'mimo-warning' }, warning)),
      answer.notices.map(notice => h('p', { class: 'mimo-small', 'data-mimo': 'notice' }, notice))
    );
  }

  #phrase(entity, text) {
    const options = {
      class: `mimo-phrase mimo-${entity.state}`,
      style: { '--mimo-color': css(entity.color) },
      title: 'Click: go to its slice. Keys: a accepts, r rejects, c corrects.',
      'data-mimo-phrase': entity.number,
      on: handlers(entity, this.act),
    };
    return h('button', options, text);
  }
}
