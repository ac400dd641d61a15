// The MIMO tab: ask about the image in view, look at what the answer points to, correct it, keep what is right.

import { colorOf } from './answer.js';
import { AnswerView } from './answer_view.js';
import * as client from './client.js';
import { fill, h } from './dom.js';
import { checkSameGrid, Grid } from './geometry.js';
import { History } from './history.js';
import { KeptView } from './kept_view.js';
import { viewportsOf } from './layers.js';
import { Mask, unfolded } from './mask.js';
import { readNrrd } from './nrrd.js';
import { painted, Prompts, promptsOf } from './prompts.js';
import { reviewer, saveFinal, wantsReport } from './saving.js';
import { NEW, newId, REJECTED } from './store.js';
import { ToolBar } from './tool_bar.js';
import { PAINT } from './tools.js';
import { Work } from './work.js';

const EXAMPLES = ['What is in the box?', 'What is at the point?', 'Segment the liver.', 'Is there a tumor?'];

export class MimoPanel {
  /** @param {{cornerstone: object, tools: object, services: object}} viewer OHIF's globals */
  constructor(viewer) {
    this.viewer = viewer;
    this.request = null; // the AbortController of the question under way
    this.works = new Map(); // by series
    this.work = null; // on the series in view
    this.correcting = null; // the id of the object that marks correct
    this.prompts = new Prompts(viewer, {
      changed: marks => this.#marked(marks),
      stroke: (...given) => this.#painted(...given),
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
    this.offers = h('div', { 'data-mimo': 'offers' });
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
      this.offers,
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
    this.correcting = null;
    this.#changed();
  }

  /** Show the state of the work on the series in view. */
  #changed() {
    const { work } = this;
    if (!work) return;
    const { store, view, answerLayers, keptLayers } = work;
    const { marks, answer, entities, kept } = store.state;
    if (this.correcting && !this.#isOpen(this.correcting)) this.correcting = null;
    this.prompts.set(marks);
    const voxelMl = view.grid.voxelMl;
    const shown = (object, layers, more) => {
      const [hidden, correcting] = [layers.hidden.has(object.id), object.id === this.correcting];
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
    this.tools.show({ canUndo: store.past.length > 0, canRedo: store.future.length > 0, byHand: this.correcting !== null });
    this.#showMarks();
    this.#showBanner();
    this.#showOffers();
  }

  /** Whether an object is there to be corrected. */
  #isOpen(id) {
    const object = this.work.store.object(id);
    return object !== null && !object.locked && (object.state === NEW || this.work.store.state.kept.includes(object));
  }

  #showMarks() {
    const view = this.view();
    if (!view || this.correcting) {
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
    const object = this.correcting && this.work.store.object(this.correcting);
    this.banner.hidden = !object;
    if (!object) return;
    const done = { 'data-mimo': 'done', on: { click: () => this.#correct(null) } };
    fill(
      this.banner,
      h('span', {}, 'Correcting ', h('b', {}, object.name), ': every mark acts at once. A click on a mark takes it back.'),
      h('button', done, 'Done')
    );
  }

  /** What an earlier visit left, and saved masks that can be gone on from. */
  #showOffers() {
    const { draft, view } = this.work;
    const parts = [];
    if (draft) {
      const when = new Date(draft.time).toLocaleString();
      const take = { class: 'mimo-ask', 'data-mimo': 'take-draft', on: { click: () => this.work.takeDraft() } };
      const drop = { 'data-mimo': 'drop-draft', on: { click: () => this.work.dropDraft() } };
      const count = draft.objects.length === 1 ? 'One mask' : `${draft.objects.length} masks`;
      parts.push(
        h('div', { class: 'mimo-message', 'data-mimo': 'draft' }, `${count} of ${when} were accepted, but not saved.`),
        h('div', { class: 'mimo-row' }, h('button', take, 'Take up again'), h('button', drop, 'Drop'))
      );
    }
    for (const seg of this.#segsOf(view)) {
      const load = { 'data-mimo': 'load', on: { click: () => this.#load(seg) } };
      const name = seg.SeriesDescription || 'Segmentation';
      parts.push(h('div', { class: 'mimo-row' }, h('span', { class: 'mimo-name' }, name), h('button', load, 'Load')));
    }
    fill(this.offers, parts.length > (draft ? 2 : 0) && h('h3', {}, 'Saved masks of this series'), ...parts);
  }

  #segsOf({ displaySet }) {
    const all = this.viewer.services.displaySetService.getActiveDisplaySets();
    return all.filter(
      ({ Modality, referencedSeriesInstanceUID }) =>
        Modality === 'SEG' && referencedSeriesInstanceUID === displaySet.SeriesInstanceUID
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
    else if (key === 'Escape' && this.correcting && !this.request) this.#correct(null);
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
      const about = whole ? this.#askVolume(work, question, given, signal) : this.#askSlice(view, question, given, signal);
      const { reply, masks } = await about;
      this.#answered(work, { ...reply, question }, masks);
      await work.shown;
      this.history.add(view.study, question, reply.answer);
    });
  }

  /** One slice: the reply's masks come as a label map. */
  async #askSlice(view, question, given, signal) {
    const params = { question, ...given.prompts, slice: given.slice ?? view.slice };
    const { reply, mask } = await client.ask(view.series, params, signal);
    const read = mask && (await readNrrd(mask));
    if (read) checkSameGrid(read, view.grid);
    const byLabel = read ? Mask.ofLabels(read.voxels, view.grid) : new Map();
    return { reply, masks: (reply.entities ?? []).map(({ label }) => byLabel.get(label) ?? new Mask()) };
  }

  /** The whole series: in words, or what is under the marks. */
  async #askVolume(work, question, given, signal) {
    const { volume } = work;
    const watching = window.setInterval(() => this.#showProgress(volume), 1000);
    try {
      if (question) {
        const { reply, masks } = await volume.ask(question, signal);
        return { reply, masks: reply.entities.map(({ object }) => masks.get(object) ?? new Mask()) };
      }
      const { reply, masks } = await volume.find(given.prompts, signal);
      const object = reply.objects.find(({ id }) => id === reply.object);
      const { phrase, score, status } = object;
      const entities = [{ phrase, score, status, object: object.id, span: [0, Array.from(phrase).length] }];
      return { reply: { ...reply, answer: `${phrase}.`, entities }, masks: [masks.get(object.id)] };
    } finally {
      window.clearInterval(watching);
    }
  }

  async #showProgress(volume) {
    const { done, of } = await client.progress(volume.session, volume.image).catch(() => ({}));
    if (this.request && of) this.#say(`Looking at the series: ${done} of ${of} slices.`);
  }

  #answered(work, reply, masks) {
    this.#say('');
    const said = { question: reply.question, answer: reply.answer };
    const server = object => (object ? { id: object, steps: 0, lost: work.volume.lost } : null);
    const entities = (reply.entities ?? []).map(({ phrase, span, score, status, object }, n) => {
      const part = { phrase, span, score, status, said, mask: masks[n], server: server(object) };
      return { id: newId(), name: phrase, color: colorOf(n), state: NEW, locked: false, ...part };
    });
    const notices = [reply.notices ?? reply.notice ?? []].flat();
    const answer = { ...said, warnings: reply.warnings ?? [], notices, model: reply.model };
    work.store.change({ answer, entities, marks: reply.question ? work.store.state.marks : [] });
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
    else if (action === 'correct') this.#correct(this.correcting === now.id ? null : now.id);
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
    if (id === this.correcting) return;
    this.correcting = id;
    const { store } = this.work;
    if (!id) this.tools.leaveByHand();
    if (store.state.marks.length) store.change({ marks: [] });
    else this.#changed();
  }

  #marked(marks) {
    const { work, correcting } = this;
    if (!work) return;
    if (!correcting) {
      work.store.change({ marks });
      return;
    }
    const before = new Map(work.store.state.marks.map(mark => [mark.uid, mark]));
    const gone = work.store.state.marks.find(({ uid }) => !marks.some(mark => mark.uid === uid));
    const fresh = marks.find(({ uid }) => !before.has(uid));
    if (fresh) this.#correctBy(promptsOf([fresh], work.view.grid, true), fresh);
    else if (gone?.prompt) this.#correctBy(null, gone);
    else {
      this.#say('While an object is corrected, marks stay where they are: a click takes one back.', true);
      this.#restoreMarks();
    }
  }

  #restoreMarks() {
    this.prompts.known = null;
    this.prompts.set(this.work.store.state.marks);
  }

  /** One step: a mark that was set, or taken back where `given` is null. */
  #correctBy(given, mark) {
    const { work, correcting } = this;
    const object = work.store.object(correcting);
    if (given?.problem || this.request) {
      this.#restoreMarks();
      this.#say(given?.problem ?? 'One moment, the last mark is still being worked on.', true);
      return null;
    }
    const undone = () => this.#restoreMarks();
    return this.#during(async () => {
      this.#say('');
      const step = given ? { prompts: given.prompts } : { take: mark.prompt };
      const { mask, server, prompt, warnings } = await work.volume.correct(object, step);
      const others = work.store.state.marks.filter(({ uid }) => uid !== mark.uid);
      const marks = given ? [...others, { ...mark, prompt }] : others;
      work.store.changeObject(object.id, { mask, server, corrected: true }, { marks });
      if (warnings?.length) this.#say(warnings.join(' '));
      await work.shown;
    }, undone);
  }

  /** Painting by hand: no model is asked. */
  #painted(tool, points, metadata) {
    const { work, correcting } = this;
    const object = correcting && work?.store.object(correcting);
    if (!object) {
      this.#say('Choose Correct at an object first, then paint.', true);
      return;
    }
    const found = painted(points, metadata, work.view.grid);
    if (!found) {
      this.#say('Paint in the view in which the images were taken.', true);
      return;
    }
    const value = tool === PAINT ? 1 : 0;
    const mask = object.mask.edited(found.k, work.view.grid, plane => {
      for (const n of found.pixels) plane[n] = value;
    });
    // What the server has is another mask now: the next mark gives it this one.
    work.store.changeObject(object.id, { mask, server: null, corrected: true });
  }

  // Saved masks.

  #load(seg) {
    const { work } = this;
    return this.#during(async () => {
      this.#say('');
      const { reply, mask } = await client.savedMasks(work.view.series, seg.SeriesInstanceUID);
      const read = await readNrrd(mask);
      checkSameGrid(read, work.view.grid);
      const masks = unfolded(read.voxels, reply.label_names, work.view.grid);
      const objects = [...masks].map(([name, found], n) => {
        const color = reply.colors?.[name] ?? colorOf(n);
        return { id: newId(), name, color, mask: found, score: null, status: 'shown', server: null, said: null };
      });
      const wasSaved = !work.unsaved && !work.store.state.kept.length;
      work.add(objects);
      if (wasSaved) work.isSaved(work.store.state.kept);
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
