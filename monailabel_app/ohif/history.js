// The questions asked of a study, kept for this browser tab only: a question may say something about a patient.

import { fill, h } from './dom.js';

const LENGTH = 30;

export class History {
  /** @param {(question: string) => void} onChoose called with a question that is to be asked again */
  constructor(onChoose) {
    this.root = h('section', { 'aria-label': 'Questions asked', 'data-mimo': 'history' });
    this.onChoose = onChoose;
    this.study = null;
  }

  /** Show what was asked of a study. */
  show(study) {
    this.study = study;
    const entries = this.#entries();
    fill(
      this.root,
      entries.length > 0 && h('h3', {}, 'Asked of this study'),
      entries.map(({ question, answer }) => {
        const again = { click: () => this.onChoose(question) };
        const text = question || '(only marks)';
        return h(
          'div',
          { class: 'mimo-asked' },
          h('button', { class: 'mimo-link', title: 'Ask this again', on: again }, text),
          h('div', { class: 'mimo-small' }, answer)
        );
      })
    );
  }

  add(study, question, answer) {
    this.study = study;
    const entries = [{ question, answer }, ...this.#entries()].slice(0, LENGTH);
    sessionStorage.setItem(this.#key(), JSON.stringify(entries));
    this.show(study);
  }

  #key() {
    return `mimo-history-${this.study}`;
  }

  #entries() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#key())) ?? [];
    } catch {
      return [];
    }
  }
}
