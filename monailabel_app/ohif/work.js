// The work on one series: its state, its masks on the screen, its session on the server, and its draft in the browser.

import { dropDraft, getDraft, putDraft } from './draft.js';
import { Layers } from './layers.js';
import { Mask } from './mask.js';
import { ACCEPTED, freeColor, freeName, NEW, newId, Store } from './store.js';
import { Volume } from './volume.js';

const DRAFT_MS = 300; // after the last step

let opened = 0;

export class Work {
  /**
   * @param {object} viewer OHIF's globals
   * @param {object} view the series, as `MimoPanel.view` gives it
   * @param {{changed: () => void, say: (text: string) => void}} on
   */
  constructor(viewer, view, on) {
    this.view = view;
    this.on = on;
    this.store = new Store(() => this.#changed());
    const number = (opened += 1) === 1 ? '' : `-of-${opened}`;
    this.answerLayers = new Layers(viewer, `mimo-answer${number}`, 'MIMO answer');
    this.keptLayers = new Layers(viewer, `mimo-accepted${number}`, 'MIMO accepted');
    this.volume = new Volume(view, on.say);
    this.saved = this.store.state.kept; // what is saved, or was there at the beginning
    this.draft = null; // one of an earlier visit, until it is taken or dropped
    this.drafted = getDraft(view.series).then(draft => {
      this.draft = draft;
      if (draft) on.changed();
    });
  }

  get unsaved() {
    return this.store.state.kept !== this.saved;
  }

  get layers() {
    return [this.answerLayers, this.keptLayers];
  }

  #changed() {
    const { entities, kept } = this.store.state;
    const { displaySet, grid } = this.view;
    this.shown = Promise.all([
      this.answerLayers.show(displaySet, grid, entities.map(e => (e.state === NEW ? e : { ...e, mask: null }))),
      this.keptLayers.show(displaySet, grid, kept),
    ]);
    window.clearTimeout(this.putting);
    this.putting = setTimeout(() => this.#put(), DRAFT_MS);
    this.on.changed();
  }

  /** Put by what is not saved. While an old draft waits for a decision, it is not written over. */
  #put() {
    if (this.draft) return;
    if (this.unsaved && this.store.state.kept.length) putDraft(this.view.series, this.store.state);
    else dropDraft(this.view.series);
  }

  takeDraft() {
    const { objects, model } = this.draft;
    this.draft = null;
    const found = objects.map(({ slices, ...object }) => ({ ...object, id: newId(), mask: new Mask(slices) }));
    this.add(found, { model });
  }

  dropDraft() {
    this.draft = null;
    this.#put();
    this.on.changed();
  }

  isSaved(kept) {
    this.saved = kept;
    this.#put();
    this.on.changed();
  }

  /** Add accepted objects; names and colours that are there already give way to others. */
  add(objects, more = {}) {
    const kept = [...this.store.state.kept];
    for (const object of objects) {
      const [name, color] = [freeName(object.name, kept), freeColor(object.color, kept)];
      kept.push({ locked: false, ...object, name, color, state: ACCEPTED });
    }
    this.store.change({ ...more, kept });
  }

  /** Add objects that are saved already; if there are no others, there is nothing to save. */
  addSaved(objects) {
    const { kept } = this.store.state;
    const isAll = !this.unsaved && !kept.length;
    this.add(objects);
    if (isAll) this.isSaved(this.store.state.kept);
  }

  /** Accept an entity; under a name that is there already, and not locked, it joins that object. */
  accept(entity) {
    const { entities, kept, answer } = this.store.state;
    const decided = entities.map(e => (e === entity ? { ...e, state: ACCEPTED } : e));
    const there = kept.find(({ name, locked }) => name === entity.name && !locked);
    const more = { entities: decided, model: answer.model };
    if (!there) {
      this.add([{ ...entity, id: newId() }], more);
      return;
    }
    const joined = { ...there, mask: there.mask.union(entity.mask, this.view.grid), server: null };
    this.store.change({ ...more, kept: kept.map(object => (object === there ? joined : object)) });
  }

  close() {
    this.volume.close();
  }
}
