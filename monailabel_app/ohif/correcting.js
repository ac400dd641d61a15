// Correcting one object: each mark is a request to the server and a step of undo; painting by hand asks nobody.

import { painted, promptsOf } from './prompts.js';
import { NEW } from './store.js';
import { PAINT } from './tools.js';

export class Correcting {
  /** @param {{during: Function, say: Function, restoreMarks: () => void}} panel */
  constructor(panel) {
    this.panel = panel;
    this.id = null; // of the object
  }

  /** Whether an object is there, and may be changed. */
  isOpen(store) {
    const object = this.id && store.object(this.id);
    return Boolean(object) && !object.locked && (object.state === NEW || store.state.kept.includes(object));
  }

  /** A person set, moved or took back marks; all there are now are given. */
  marked(work, marks) {
    const { store } = work;
    const before = new Set(store.state.marks.map(({ uid }) => uid));
    const gone = store.state.marks.find(({ uid }) => !marks.some(mark => mark.uid === uid));
    const fresh = marks.find(({ uid }) => !before.has(uid));
    if (fresh) this.#step(work, fresh, promptsOf([fresh], work.view.grid, true));
    else if (gone) this.#step(work, gone, null);
    else this.#refuse('While an object is corrected, marks stay where they are: a click takes one back.');
  }

  #refuse(sentence) {
    this.panel.restoreMarks();
    this.panel.say(sentence, true);
  }

  /** One mark that was set, or taken back where `given` is null. */
  #step(work, mark, given) {
    const { store, view, volume } = work;
    if (view.grid.voxelMl === null) {
      this.#refuse('A single picture is corrected by hand, or by asking again with more marks.');
      return;
    }
    if (given?.problem) {
      this.#refuse(given.problem);
      return;
    }
    const object = store.object(this.id);
    const run = async () => {
      this.panel.say('');
      const step = given ? { prompts: given.prompts } : { take: mark.prompt };
      const { mask, server, prompt, warnings } = await volume.correct(object, step);
      const others = store.state.marks.filter(({ uid }) => uid !== mark.uid);
      const marks = given ? [...others, { ...mark, prompt }] : others;
      store.changeObject(object.id, { mask, server, corrected: true }, { marks });
      if (warnings?.length) this.panel.say(warnings.join(' '));
      await work.shown;
    };
    this.panel.during(run, () => this.panel.restoreMarks());
  }

  /** A stroke that was painted by hand. */
  painted(work, tool, points, metadata) {
    const object = this.id && work.store.object(this.id);
    if (!object) {
      this.panel.say('Choose Correct at an object first, then paint.', true);
      return;
    }
    const found = painted(points, metadata, work.view.grid);
    if (!found) {
      this.panel.say('Paint in the view in which the images were taken.', true);
      return;
    }
    const mask = object.mask.edited(found.k, work.view.grid, plane => {
      for (const n of found.pixels) plane[n] = tool === PAINT ? 1 : 0;
    });
    // What the server has is another mask now: the next mark gives it this one.
    work.store.changeObject(object.id, { mask, server: null, corrected: true });
  }
}
