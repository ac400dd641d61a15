// A session about a whole series on the server, which finds objects in 3-D and corrects them. The masks are kept here too:
// what the server forgets, after a restart or a long pause, is given to it anew.

import * as client from './client.js';
import { checkSameGrid } from './geometry.js';
import { Mask } from './mask.js';
import { readNrrd, through, writeNrrd } from './nrrd.js';

const GONE = 410;
const OTHER = 409; // the session is of other weights, or in another plane

export const sessionName = () =>
  Array.from(window.crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');

export class Volume {
  /**
   * @param {{series: string, grid: Grid}} view
   * @param {(text: string) => void} say tells the user what happened to the session
   */
  constructor({ series, grid }, say) {
    Object.assign(this, { image: series, grid, say });
    this.session = sessionName();
    this.known = null; // what the server has: id of an object -> its entry in a reply; null before the session is open
    this.names = [];
    this.lost = 0; // how often the server forgot the session; objects of an earlier one are not there any more
  }

  /** What says that an object is on the server as it was found. */
  has(id) {
    return { id, steps: this.known.get(id)?.undo ?? 0, lost: this.lost };
  }

  close() {
    if (!this.known) return;
    const body = new Blob([JSON.stringify(this.#who())], { type: 'application/json' });
    window.navigator.sendBeacon('/volume/close', body);
    this.known = null;
  }

  #who() {
    return { session: this.session, image: this.image };
  }

  #learn(reply) {
    this.known = new Map(reply.objects.map(object => [object.id, object]));
    this.names = reply.names ?? [];
    return reply;
  }

  async #post(action, body = {}, signal = undefined) {
    return this.#learn(await client.volume(action, { ...this.#who(), ...body }, signal));
  }

  /** Do `work()` in an open session, again in a new one if the server has lost it. */
  async #open(work) {
    if (!this.known) await this.#post('open');
    try {
      return await work();
    } catch (error) {
      if (error.status !== GONE && error.status !== OTHER) throw error;
      this.lost += 1;
      await this.#post('open');
      this.say('The server has lost this session, perhaps in a restart. It goes on from the masks that you see.');
      return work();
    }
  }

  /**
   * Ask in words about the whole series.
   * @returns {Promise<{reply: object, masks: Map<string, Mask>}>} masks by the object of an entity
   */
  ask(question, signal) {
    return this.#open(async () => this.#withMasks(await this.#post('ask', { question }, signal), signal));
  }

  /** Find what is under prompts, in 3-D. */
  find(prompts, signal) {
    return this.#open(async () => this.#withMasks(await this.#post('prompt', prompts, signal), signal));
  }

  async #withMasks(reply, signal) {
    const wanted = reply.entities?.map(({ object }) => object) ?? [reply.object];
    const masks = new Map();
    for (const id of new Set(wanted.filter(Boolean))) masks.set(id, await this.#fetch(id, signal));
    return { reply, masks };
  }

  async #fetch(id, signal) {
    const read = await readNrrd(await client.maskOf(this.session, this.image, id, signal));
    checkSameGrid(read, this.grid);
    return Mask.ofLabels(read.voxels, this.grid).get(1) ?? new Mask();
  }

  /**
   * Correct an object by one set of prompts, or take one back.
   * @param {{name: string, mask: Mask, server: object | null}} object
   * @param {{prompts: object} | {take: number}} step
   * @returns {Promise<{mask: Mask, server: {id: string, steps: number, lost: number}, prompt: number | undefined,
   *   warnings: string[]}>} `prompt` is the id of the prompts
   */
  correct(object, step) {
    return this.#open(async () => {
      const { id, base } = await this.#ready(object);
      let reply;
      if (step.prompts) reply = await this.#post('prompt', { object: id, ...step.prompts });
      else {
        if (base) throw new client.ServerError('The server does not know this mark any more. Undo takes it back.');
        reply = await this.#post('remove', { object: id, prompt: step.take });
      }
      const entry = this.known.get(id);
      const mask = await this.#patched(object.mask, reply.change, entry);
      return {
        mask,
        server: this.has(id),
        prompt: entry.prompts.at(-1)?.id,
        warnings: reply.warnings,
      };
    });
  }

  async #patched(mask, change, { id, voxels }) {
    if (change) {
      const bytes = Uint8Array.from(window.atob(change.mask), c => c.charCodeAt(0));
      mask = mask.patched(change.box, await through(new DecompressionStream('gzip'), bytes), this.grid);
    }
    return mask.count === voxels ? mask : this.#fetch(id);
  }

  /** See that the server has the object, as it is here: undo and redo are done there only when that matters. */
  async #ready({ name, mask, server }) {
    const entry = () => (server?.lost === this.lost ? this.known.get(server.id) : undefined);
    while (entry()?.undo > server?.steps) await this.#post('undo', { object: server.id });
    while (entry()?.undo < server?.steps && entry()?.redo) await this.#post('redo', { object: server.id });
    if (entry()?.undo === server?.steps && entry()?.voxels === mask.count) return { id: server.id, base: false };
    const params = { value: 1, ...(this.names.includes(name) ? { phrase: name } : {}) };
    const label = await writeNrrd(mask.toVoxels(this.grid), this.grid);
    const reply = this.#learn(await client.startFrom(this.session, this.image, label, params));
    return { id: reply.object, base: true };
  }
}
