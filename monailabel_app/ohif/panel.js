// The MIMO tab: ask about the image in view, look at what the answer points to, correct it, keep what is right.

import { AnswerView } from './answer_view.js';
import { answerOf, askSlice, askVolume } from './asking.js';
import * as client from './client.js';
import { Correcting } from './correcting.js';
import { fill, h } from './dom.js';
import { Grid } from './geometry.js';
import { History } from './history.js';
import { KeptView } from './kept_view.js';
import { viewportsOf } from './layers.js';
import { loadSeg, Offers } from './offers.js';
import { Prompts, promptsOf } from './prompts.js';
import { reviewer, saveFinal, wantsReport } from './saving.js';
import { NEW, REJECTED } from './store.js';
import { ToolBar } from './tool_bar.js';
import { Work } from './work.js';

const EXAMPLES = ['What is in the box?', 'What is at the point?', 'Segment the liver.', 'Is there a tumor?'];

export class MimoPanel {
  /** @param {{cornerstone: object, tools: object, services: object}} viewer OHIF's globals */
  constructor(viewer) {
    this.viewer = viewer;
    this.request = null; // the AbortController of the question under way
    this.works = new Map(); // by series
    this.work = null; // on the series in view
    this.correcting = new Correcting({
      during: (...given) => this.#during(...given),
      say: (...given) => this.#say(...given),
      restoreMarks: () => this.#restoreMarks(),
    });
    this.prompts = new Prompts(viewer, {
      changed: marks => this.#marked(marks),
      stroke: (...given) => this.work && this.correcting.painted(this.work, ...given),
    });
    const act = (action, object) => this.#act(action, object);
    this.tools = new ToolBar({
      tool: name => this.prompts.activate(name),
      undo: () => this.#undo(),
      redo: () => this.#redo(),
      clear: () => this.work?.store.change({ marks: [] }),
    });
    this.answerView = new AnswerView(act);
    this.keptView = new KeptView(act, { opacity: value => this.#opacity(value), save: () => this.#save() });
    this.offers = new Offers(viewer, (work, seg) => this.#load(work, seg));
    this.history = new History(question => this.#askAgain(question));
    this.#build();
    const { viewportGridService } = viewer.services;
    const { EVENTS } = viewportGridService;
    this.subscriptions = [EVENTS.GRID_STATE_CHANGED, EVENTS.ACTIVE_VIEWPORT_ID_CHANGED, EVENTS.VIEWPORTS_READY].map(
      event => viewportGridService.subscribe(event, () => this.#viewChanged())
    );
    this.keys = event => this.#key(event);
    this.leaving = () => this.works.forEach(work => work.close());
    window.addEventListener('keydown', this.keys, true);
    window.addEventListener('pagehide', this.leaving);
    this.#askForModel();
  }

  destroy() {
    this.request?.abort();
    this.prompts.destroy();
    this.subscriptions.forEach(({ unsubscribe }) => unsubscribe());
    window.removeEventListener('keydown', this.keys, true);
    window.removeEventListener('pagehide', this.leaving);
    this.leaving();
  }

  #build() {
    const on = { keydown: event => this.#questionKey(event) };
    this.model = h('div', { class: 'mimo-model', role: 'status', 'data-mimo': 'model' }, 'Connecting ...');
    this.marks = h('div', { class: 'mimo-small', 'aria-live': 'polite', 'data-mimo': 'prompts' });
    this.question = h('textarea', {
      class: 'mimo-question',
      rows: 2,
      maxlength: 1000,
      placeholder: 'Ask about this image',
      'aria-label': 'Question',
      'data-mimo': 'question',
      on,
    });
    this.askButton = h('button', { class: 'mimo-ask', 'data-mimo': 'ask', on: { click: () => this.ask() } }, 'Ask');
    const cancel = { 'data-mimo': 'cancel', hidden: true, on: { click: () => this.cancel() } };
    this.cancelButton = h('button', cancel, 'Cancel');
    this.progress = h('div', { class: 'mimo-progress', hidden: true, 'aria-hidden': 'true' }, h('div'));
    this.message = h('div', { class: 'mimo-message', role: 'alert', 'data-mimo': 'message', hidden: true });
    this.banner = h('div', { class: 'mimo-banner', role: 'status', hidden: true, 'data-mimo': 'correcting' });
    const choice = (value, text, checked) => {
      const radio = h('input', { type: 'radio', name: 'mimo-scope', value, 'data-mimo': value });
      radio.checked = checked;
      return h('label', {}, radio, ` ${text}`);
    };
    const about = { class: 'mimo-row', role: 'radiogroup', 'aria-label': 'Ask about', hidden: true };
    this.scope = h('div', about, choice('slice', 'This slice', true), choice('volume', 'The whole series', false));
    const examples = h(
      'select',
      {
        'aria-label': 'Example questions',
        'data-mimo': 'examples',
        on: { change: ({ target }) => this.#example(target) },
      },
      h('option', { value: '' }, 'Examples ...'),
      EXAMPLES.map(text => h('option', { value: text }, text))
    );
    // OHIF's own keys (r turns the image, and so on) must not act while a key is meant for the panel.
    const mine = event => event.stopPropagation();
    this.root = h(
      'div',
      { class: 'mimo', 'aria-busy': 'false', on: { keydown: mine, keypress: mine, keyup: mine } },
      this.model,
      this.tools.root,
      this.marks,
      this.question,
      this.scope,
      h('div', { class: 'mimo-row' }, this.askButton, this.cancelButton, examples),
      this.progress,
      this.message,
      this.banner,
      this.answerView.root,
      this.offers.root,
      this.keptView.root,
      this.history.root
    );
  }

  #say(text, isError = false) {
    this.message.hidden = !text;
    this.message.classList.toggle('mimo-error', isError);
    fill(this.message, text);
  }

  #busy(yes) {
    this.askButton.disabled = yes;
    this.progress.hidden = !yes;
    this.cancelButton.hidden = !this.request;
    this.root.setAttribute('aria-busy', String(yes));
  }

  /** Do what takes a while, one thing at a time; what goes wrong is said. */
  async #during(work, onError = () => {}) {
    if (this.request) return;
    this.request = new AbortController();
    this.#busy(true);
    try {
      await work(this.request.signal);
    } catch (error) {
      onError();
      if (error.name === 'AbortError') this.#say('Cancelled.');
      else this.#say(error.message, true);
    } finally {
      this.request = null;
      this.#busy(false);
    }
  }

  // The model, and the image in view.

  async #askForModel() {
    const light = (kind, ...rest) => fill(this.model, h('span', { class: `mimo-${kind}` }, '● '), ...rest);
    try {
      const info = await client.info();
      if (!info.models?.mimo_ask) throw new client.ServerError('This server has no MIMO model.');
      if (!info.model) {
        throw new client.ServerError('The server has no weights yet: it can show images, but not answer.');
      }
      this.keptView.reports = info.reports === true;
      const { name, weights, hash } = info.model;
      light('ready', h('span', { title: `weights ${weights}, ${hash}` }, `Ready: ${name}`));
    } catch (error) {
      const again = { class: 'mimo-link', on: { click: () => this.#askForModel() } };
      light('down', `${error.message} `, h('button', again, 'Try again'));
    }
  }

  /** The series in the active viewport, its grid and the slice in view; null where nothing can be asked about. */
  view() {
    const { viewportGridService, displaySetService, cornerstoneViewportService } = this.viewer.services;
    const { viewports, activeViewportId } = viewportGridService.getState();
    const uid = viewports.get(activeViewportId)?.displaySetInstanceUIDs?.[0];
    const displaySet = uid && displaySetService.getDisplaySetByUID(uid);
    const viewport = cornerstoneViewportService.getCornerstoneViewport(activeViewportId);
    if (!displaySet?.imageIds?.length || !viewport?.getCamera) return null;
    if (this.grid?.of !== uid) {
      const { metaData } = this.viewer.cornerstone;
      const plane = imageId => metaData.get('imagePlaneModule', imageId);
      this.grid = { of: uid, grid: new Grid(displaySet.imageIds, plane) };
    }
    const { grid } = this.grid;
    const slice = grid.sliceOf(viewport.getCurrentImageId?.()) ?? grid.sliceAt(viewport.getCamera().focalPoint);
    const { SeriesInstanceUID: series, StudyInstanceUID: study } = displaySet;
    return { displaySet, viewport, grid, slice, series, study };
  }

  #viewChanged() {
    const view = this.view();
    if (!view) return;
    const { displaySetInstanceUID: uid } = view.displaySet;
    if (!this.works.has(uid)) {
      const on = { changed: () => this.#changed(), say: text => this.#say(text) };
      this.works.set(uid, new Work(this.viewer, view, on));
    }
    const work = this.works.get(uid);
    for (const layers of work.layers) layers.addToViewports(view.displaySet);
    if (this.history.study !== view.study) this.history.show(view.study);
    if (this.work === work) return;
    this.work = work;
    this.correcting.id = null;
    this.#changed();
  }

  /** Show the state of the work on the series in view. */
  #changed() {
    const { work } = this;
    if (!work) return;
    const { store, view, answerLayers, keptLayers } = work;
    const { marks, answer, entities, kept } = store.state;
    if (!this.correcting.isOpen(store)) this.correcting.id = null;
    this.prompts.set(marks);
    const voxelMl = view.grid.voxelMl;
    const shown = (object, layers, more) => {
      const [hidden, correcting] = [layers.hidden.has(object.id), object.id === this.correcting.id];
      return { ...object, hidden, correcting, ...more };
    };
    this.answerView.show(
      answer,
      entities.map((object, n) => shown(object, answerLayers, { kept: false, number: n + 1, phrase: object.name })),
      voxelMl
    );
    const how = { opacity: keptLayers.opacity, unsaved: work.unsaved, voxelMl };
    this.keptView.show(
      kept.map(object => shown(object, keptLayers, { kept: true })),
      how
    );
    this.scope.hidden = view.grid.slices < 2;
    this.tools.show({ canUndo: store.past.length > 0, canRedo: store.future.length > 0, byHand: this.correcting.id !== null });
    this.#showMarks();
    this.#showBanner();
    this.offers.show(work);
  }

  #showMarks() {
    const view = this.view();
    if (!view || this.correcting.id) {
      fill(this.marks);
      return;
    }
    const { marks } = this.work.store.state;
    const whole = this.#isAboutVolume();
    const given = promptsOf(marks, view.grid, whole);
    const { foreground, background, bbox, foreground_scribble, background_scribble } = given.prompts;
    const said = [
      foreground && `${foreground.length} positive`,
      background && `${background.length} negative`,
      bbox && 'a box',
      (foreground_scribble || background_scribble) && 'a scribble',
    ].filter(Boolean);
    const parts = [];
    // No number of the slice: in its three views OHIF may count from the other end than the series does.
    const where = whole || given.slice === view.slice ? '' : ', on another slice than the one in view';
    if (said.length) parts.push(`${said.join(', ')}${where}.`);
    if (given.left) parts.push(`${given.left} on other slices, not used.`);
    if (given.problem) parts.push(given.problem);
    fill(this.marks, parts.join(' '));
  }

  #showBanner() {
    const object = this.correcting.id && this.work.store.object(this.correcting.id);
    this.banner.hidden = !object;
    if (!object) return;
    const done = { 'data-mimo': 'done', on: { click: () => this.#correct(null) } };
    fill(
      this.banner,
      h('span', {}, 'Correcting ', h('b', {}, object.name), ': every mark acts at once. A click on a mark takes it back.'),
      h('button', done, 'Done')
    );
  }

  #goTo(voxel) {
    const { cornerstoneViewportService } = this.viewer.services;
    const { grid, displaySet } = this.work.view;
    for (const viewportId of viewportsOf(this.viewer, displaySet)) {
      const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportId);
      if (viewport?.jumpToWorld) viewport.jumpToWorld(grid.toWorld(voxel));
      else viewport?.setImageIdIndex?.(viewport.getImageIds().indexOf(grid.planes[voxel[2]].imageId));
      viewport?.render();
    }
  }

  #opacity(value) {
    for (const layers of this.work.layers) {
      layers.opacity = value;
      layers.paint();
    }
  }

  // Keys.

  #key(event) {
    const { key, ctrlKey, metaKey, shiftKey, altKey, target } = event;
    const isText = target?.matches?.('textarea, input[type="text"], input:not([type])');
    const isUndo = (ctrlKey || metaKey) && key.toLowerCase() === 'z' && !shiftKey;
    const isRedo = (ctrlKey || metaKey) && (key.toLowerCase() === 'y' || (key.toLowerCase() === 'z' && shiftKey));
    const tool = altKey && !ctrlKey ? this.tools.byNumber(event.code) : null;
    if (!this.root.isConnected || (isText && !tool)) return;
    if (isUndo) this.#undo();
    else if (isRedo) this.#redo();
    else if (tool) tool();
    else if (key === 'Escape' && this.correcting.id && !this.request) this.#correct(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #undo() {
    if (!this.request) this.work?.store.undo();
  }

  #redo() {
    if (!this.request) this.work?.store.redo();
  }

  // Asking.

  #example(select) {
    if (select.value) this.#askAgain(select.value);
    select.value = '';
  }

  #askAgain(question) {
    this.question.value = question;
    this.question.focus();
  }

  #questionKey(event) {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.ask();
    } else if (event.key === 'Escape') {
      this.cancel();
    }
  }

  cancel() {
    this.request?.abort();
  }

  #isAboutVolume() {
    return !this.scope.hidden && this.scope.querySelector('[value="volume"]').checked;
  }

  async ask() {
    const view = this.view();
    if (!view || !this.work) {
      this.#say('Open a series in a view first.', true);
      return;
    }
    const { work } = this;
    const question = this.question.value.trim();
    const whole = this.#isAboutVolume();
    const given = promptsOf(work.store.state.marks, view.grid, whole);
    const { foreground, foreground_scribble, bbox } = given.prompts;
    const pointed = foreground || foreground_scribble || bbox;
    const nothing = !question && !pointed && 'Type a question, or mark something on the image.';
    if (given.problem || nothing) {
      this.#say(given.problem || nothing, true);
      return;
    }
    this.#correct(null);
    await this.#during(async signal => {
      this.#say('');
      const onProgress = (done, of) => this.request && this.#say(`Looking at the series: ${done} of ${of} slices.`);
      const found = whole
        ? await askVolume(work.volume, question, given, signal, onProgress)
        : await askSlice(view, question, given, signal);
      this.#say('');
      work.store.change(answerOf(found, question, work.volume));
      await work.shown;
      this.history.add(view.study, question, found.reply.answer);
    });
  }

  // Objects.

  #act(action, object) {
    const { work } = this;
    if (action === 'highlight') {
      for (const layers of work.layers) layers.highlight(object?.id ?? null);
      return;
    }
    const now = work.store.object(object.id);
    if (!now) return;
    if (action === 'goTo') {
      const middle = now.mask.middle(work.view.grid);
      if (middle) this.#goTo(middle);
    } else if (action === 'toggle') {
      const { hidden } = work.keptLayers;
      if (!hidden.delete(now.id)) hidden.add(now.id);
      work.keptLayers.paint();
      this.#changed();
    } else if (action === 'lock') work.store.changeObject(now.id, { locked: !now.locked });
    else if (action === 'correct') this.#correct(this.correcting.id === now.id ? null : now.id);
    else if (action === 'remove') work.store.change({ kept: work.store.state.kept.filter(({ id }) => id !== now.id) });
    else if (now.state === NEW) this.#decide(action, now);
    this.#keepFocus(action, object.id);
  }

  /** Lists are made anew at every change: the keys go on where they were. */
  #keepFocus(action, id) {
    const { entities, kept } = this.work.store.state;
    const number = kept.findIndex(object => object.id === id) + 1;
    const row = number ? `[data-mimo-kept="${number}"]` : `[data-mimo-entity="${entities.findIndex(e => e.id === id) + 1}"]`;
    const next = this.root.querySelector(`${row} [data-mimo="${action}"]:not(:disabled)`);
    (next ?? this.root.querySelector('[data-mimo="accept"]:not(:disabled)'))?.focus();
  }

  #decide(action, entity) {
    const { work } = this;
    if (action === 'accept') {
      if (!entity.mask.count) return;
      work.accept(entity);
    } else work.store.changeObject(entity.id, { state: REJECTED });
    client.decided(work.view.series, { phrase: entity.name, score: entity.score }, action, reviewer());
  }

  // Correcting.

  /** Begin to correct an object; null: be done with it. Marks that were set for another purpose go. */
  #correct(id) {
    if (id === this.correcting.id) return;
    this.correcting.id = id;
    const { store } = this.work;
    if (!id) this.tools.leaveByHand();
    if (store.state.marks.length) store.change({ marks: [] });
    else this.#changed();
  }

  #marked(marks) {
    if (!this.work) return;
    if (!this.correcting.id) this.work.store.change({ marks });
    else if (this.request) {
      this.#restoreMarks();
      this.#say('One moment, the last mark is still being worked on.', true);
    } else this.correcting.marked(this.work, marks);
  }

  #restoreMarks() {
    this.prompts.known = null;
    this.prompts.set(this.work.store.state.marks);
  }

  // Saved masks.

  #load(work, seg) {
    return this.#during(async () => {
      this.#say('');
      work.addSaved(await loadSeg(work.view, seg));
      await work.shown;
    });
  }

  #save() {
    if (!reviewer()) {
      this.keptView.askForName();
      return null;
    }
    const { work } = this;
    this.#correct(null);
    return this.#during(async () => {
      this.#say('Saving ...');
      const { kept, model } = work.store.state;
      const report = this.keptView.reports && wantsReport();
      const said = await saveFinal(work.view, kept, model, report);
      work.isSaved(kept);
      this.#say(said);
    });
  }
}
