// One object in a list: its colour, name and measures, and what can be done with it, by mouse and by keys.

import { measures } from './answer.js';
import { h } from './dom.js';
import { NEW } from './store.js';

export const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;

// What can be done: [action, text, key, sentence, whether it is there]. The panel does it: `act(action, object)`.
const ACTIONS = [
  ['accept', 'Accept', 'a', 'Keep this mask', ({ state }) => state === NEW],
  ['reject', 'Reject', 'r', 'Drop this mask', ({ state }) => state === NEW],
  ['toggle', 'Hide', 'h', 'Show or hide its mask', ({ kept }) => kept],
  ['lock', 'Lock', 'l', 'Let nothing change it', ({ kept }) => kept],
  ['correct', 'Correct', 'c', 'Correct this mask by marks, or by hand', ({ state, kept }) => kept || state === NEW],
  ['remove', 'Delete', 'Delete', 'Take it out of the list', ({ kept }) => kept],
];
const STOPPED_BY_LOCK = ['correct', 'remove'];

/** The action that a key stands for, if the object has it. */
export function actionOf(key, object) {
  const found = ACTIONS.find(([, , wanted, , there]) => wanted === key && there(object));
  return found && !isOff(found[0], object) ? found[0] : null;
}

const isOff = (action, { locked, mask }) =>
  (locked && STOPPED_BY_LOCK.includes(action)) || (action === 'accept' && !mask.count);

/**
 * What hovering, clicking and keys do, for a phrase in the text and for its row alike.
 * @param {(action: string, object: object) => void} act
 */
export function handlers(object, act) {
  const show = () => act('highlight', object);
  const hide = () => act('highlight', null);
  const keydown = ({ key, ctrlKey, metaKey, altKey }) => {
    const action = !ctrlKey && !metaKey && !altKey && actionOf(key, object);
    if (action) act(action, object);
  };
  return { mouseenter: show, mouseleave: hide, focus: show, blur: hide, click: () => act('goTo', object), keydown };
}

/**
 * @param {object} object as store.js has it, with `kept`, `hidden` and `correcting` added
 * @param {number | null} voxelMl
 */
export function objectRow(object, voxelMl, act, attributes) {
  const { name, color, state, status, corrected } = object;
  const low = state === NEW && !corrected && (status === 'uncertain' || status === 'withheld');
  const buttons = ACTIONS.filter(([, , , , there]) => there(object)).map(([action, text, key, title]) => {
    const on = { toggle: object.hidden, lock: object.locked, correct: object.correcting }[action];
    const other = { toggle: 'Show', lock: 'Unlock', correct: 'Done' }[action];
    const options = {
      title: `${title} (${key})`,
      'aria-label': `${on ? other : text} ${name}`,
      'aria-pressed': other ? String(Boolean(on)) : null,
      'data-mimo': action,
      disabled: isOff(action, object),
      on: { click: () => act(action, object) },
    };
    return h('button', options, on ? other : text);
  });
  return h(
    'div',
    { class: `mimo-object mimo-${state}${object.correcting ? ' mimo-correcting' : ''}`, ...attributes },
    h('span', { class: 'mimo-chip', style: { '--mimo-color': css(color) } }),
    h('button', { class: 'mimo-link mimo-name', title: 'Go to its slice', on: handlers(object, act) }, name),
    h(
      'span',
      { class: `mimo-score${low ? ' mimo-low' : ''}`, title: 'How sure the model is of this mask, and how large it is' },
      measures(object, voxelMl)
    ),
    buttons.length > 0 && h('div', { class: 'mimo-actions' }, buttons)
  );
}
