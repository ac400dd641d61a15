// The buttons of the tools, and of undo and redo. Alt and a number takes a tool, also while the mouse is over an image.

import { h } from './dom.js';
import { BOX, brush, ERASER, INSIDE, NEGATIVE, OUTSIDE, PAINT, POSITIVE, RUB } from './tools.js';

const TOOLS = [
  [POSITIVE, '+ Point', 'Mark a point inside of what you mean; a click on it takes it back'],
  [NEGATIVE, '− Point', 'Mark a point outside of what you mean'],
  [BOX, 'Box', 'Draw a box around what you mean'],
  [INSIDE, '+ Scribble', 'Draw a line inside of what you mean'],
  [OUTSIDE, '− Scribble', 'Draw a line outside of what you mean'],
  [ERASER, 'Eraser', 'Take back the marks that you touch'],
];
const BY_HAND = [
  [PAINT, 'Paint', 'Add to the mask by hand'],
  [RUB, 'Rub out', 'Take away from the mask by hand'],
];

export class ToolBar {
  /** @param {{tool: (name: string | null) => void, undo: () => void, redo: () => void, clear: () => void}} on */
  constructor(on) {
    this.on = on;
    this.active = null;
    const shortcuts = [...TOOLS, ...BY_HAND].map(([name]) => name);
    this.numbers = new Map(shortcuts.map((name, n) => [`Digit${n + 1}`, name]));
    const button = ([name, text, title], n) =>
      h(
        'button',
        {
          title: `${title} (Alt+${n + 1})`,
          'aria-pressed': 'false',
          'data-mimo-tool': name,
          on: { click: () => this.take(name) },
        },
        text
      );
    this.buttons = [...TOOLS, ...BY_HAND].map(button);
    const action = (name, text, title) => h('button', { title, 'data-mimo': name, on: { click: () => on[name]() } }, text);
    this.undo = action('undo', '↶ Undo', 'Take the last step back (Ctrl+Z)');
    this.redo = action('redo', '↷ Redo', 'Do it again (Ctrl+Y)');
    const clear = action('clear', 'Clear', 'Remove all marks');
    const width = h('input', {
      type: 'range',
      min: 1,
      max: 30,
      value: brush.width,
      'aria-label': 'Width of the brush in millimetres',
      'data-mimo': 'brush',
      on: { input: ({ target }) => (brush.width = Number(target.value)) },
    });
    this.byHand = h('div', { class: 'mimo-row', role: 'toolbar', 'aria-label': 'By hand', hidden: true });
    this.byHand.append(...this.buttons.slice(TOOLS.length), width);
    const marks = { class: 'mimo-row', role: 'toolbar', 'aria-label': 'Marks' };
    this.root = h(
      'div',
      {},
      h('div', marks, this.buttons.slice(0, TOOLS.length)),
      this.byHand,
      h('div', { class: 'mimo-row', role: 'toolbar', 'aria-label': 'Steps' }, this.undo, this.redo, clear)
    );
  }

  /** Take a tool; the one in hand is put back. */
  take(name) {
    this.active = this.active === name ? null : name;
    this.on.tool(this.active);
    for (const button of this.buttons) {
      button.setAttribute('aria-pressed', String(button.dataset.mimoTool === this.active));
    }
  }

  /** What a key with Alt does: a function, or null. */
  byNumber(code) {
    const name = this.numbers.get(code);
    const isThere = name && (!this.byHand.hidden || !BY_HAND.some(([tool]) => tool === name));
    return isThere ? () => this.take(name) : null;
  }

  leaveByHand() {
    if (BY_HAND.some(([name]) => name === this.active)) this.take(this.active);
  }

  show({ canUndo, canRedo, byHand }) {
    this.undo.disabled = !canUndo;
    this.redo.disabled = !canRedo;
    this.byHand.hidden = !byHand;
  }
}
