// What a person has done with one series, and every step of it: marks, the answer in view, and what was accepted.

import { COLORS } from './answer.js';

export const NEW = 'new';
export const ACCEPTED = 'accepted';
export const REJECTED = 'rejected';

/**
 * The state is never changed in place, so that a step back gives exactly what was there before.
 *
 * `marks`: prompts as prompts.js keeps them. `answer`: {question, answer, warnings, notices, model} or null. `entities`: its
 * phrases, `kept`: what was accepted, both lists of objects:
 * {id, name, color, mask, score, status, state, span, locked, server: {id, steps} | null, said: {question, answer} | null}.
 */
export class Store {
  /** @param {() => void} onChange called after every step, forward or back */
  constructor(onChange) {
    this.state = { marks: [], answer: null, entities: [], kept: [], model: null };
    this.past = [];
    this.future = [];
    this.onChange = onChange;
  }

  /** Take a step. */
  change(part) {
    this.past.push(this.state);
    this.future = [];
    this.state = { ...this.state, ...part };
    this.onChange();
  }

  /** Change one object, in whichever list it is. */
  changeObject(id, part, more = {}) {
    const edit = list => (list.some(o => o.id === id) ? list.map(o => (o.id === id ? { ...o, ...part } : o)) : list);
    const { entities, kept } = { ...this.state, ...more };
    this.change({ ...more, entities: edit(entities), kept: edit(kept) });
  }

  object(id) {
    return [...this.state.entities, ...this.state.kept].find(object => object.id === id) ?? null;
  }

  undo() {
    return this.#move(this.past, this.future);
  }

  redo() {
    return this.#move(this.future, this.past);
  }

  #move(from, to) {
    if (!from.length) return false;
    to.push(this.state);
    this.state = from.pop();
    this.onChange();
    return true;
  }
}

let last = 0;
/** An id that no other object of this page has. */
export const newId = () => (last += 1);

/** A name that none of `objects` has: a number is added where one has it. */
export function freeName(name, objects) {
  const taken = new Set(objects.map(object => object.name));
  let free = name;
  for (let n = 2; taken.has(free); n++) free = `${name} ${n}`;
  return free;
}

/** A colour that none of `objects` has, while there is one; `color` if it is free. */
export function freeColor(color, objects) {
  const taken = new Set(objects.map(object => String(object.color)));
  return taken.has(String(color)) ? (COLORS.find(other => !taken.has(String(other))) ?? color) : color;
}
