// Run by test_modules.py: masks, undo, and a session with a server that keeps to the contract of the volume routes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

globalThis.window = globalThis;
const modules = new URL('../../monailabel_app/ohif/', import.meta.url);
const { flattened, Mask, unfolded } = await import(new URL('mask.js', modules));
const { apart } = await import(new URL('layers.js', modules));
const { Store } = await import(new URL('store.js', modules));
const { measures, notSaidTwice } = await import(new URL('answer.js', modules));
const { promptsOf, painted } = await import(new URL('prompts.js', modules));
const { Grid } = await import(new URL('geometry.js', modules));
const { Volume } = await import(new URL('volume.js', modules));
const { readNrrd } = await import(new URL('nrrd.js', modules));
const { hasImages } = await import(new URL('mode.js', modules));

const [columns, rows, slices] = [7, 5, 4];
const grid = new Grid([0, 1, 2, 3].map(String), id => ({
  rowCosines: [1, 0, 0],
  columnCosines: [0, 1, 0],
  imagePositionPatient: [0, 0, 2 * Number(id)],
  columnPixelSpacing: 1,
  rowPixelSpacing: 1,
  columns,
  rows,
}));
let seed = 7;
const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
const noise = share => Uint8Array.from({ length: columns * rows * slices }, () => Number(random() < share));
const maskOf = voxels => Mask.ofLabels(voxels, grid).get(1) ?? new Mask();

test('a mask holds the voxels it was made of, and can be edited', () => {
  for (const share of [0, 0.1, 0.5, 1]) {
    const [a, b] = [noise(share), noise(0.3)];
    const mask = maskOf(a);
    assert.deepEqual(mask.toVoxels(grid), a);
    assert.equal(
      mask.count,
      a.reduce((sum, v) => sum + v, 0)
    );
    const both = a.map((v, n) => v | b[n]);
    assert.deepEqual(mask.union(maskOf(b), grid).toVoxels(grid), both);
    assert.deepEqual(mask.toVoxels(grid), a, 'the first is as it was');
    assert.equal(
      mask.overlaps(maskOf(b)),
      a.some((v, n) => v && b[n])
    );
    const box = [2, 1, 1, 6, 4, 3];
    const values = Uint8Array.from({ length: 4 * 3 * 2 }, () => Number(random() < 0.5));
    const expected = a.slice();
    for (let n = 0; n < values.length; n++) {
      const [i, j, k] = [n % 4, Math.floor(n / 4) % 3, Math.floor(n / 12)];
      expected[2 + i + columns * (1 + j + rows * (1 + k))] = values[n];
    }
    assert.deepEqual(mask.patched(box, values, grid).toVoxels(grid), expected);
  }
});

test('the middle of a mask is on its largest slice', () => {
  const voxels = new Uint8Array(columns * rows * slices);
  voxels[0] = 1;
  voxels[35 + 8] = voxels[35 + 9] = 1;
  assert.deepEqual(maskOf(voxels).middle(grid), [1.5, 1, 1]);
  assert.equal(new Mask().middle(grid), null);
});

test('overlapping masks are drawn apart, and saved and loaded with all of their voxels', () => {
  const objects = [0.5, 0.4, 0.6].map((share, n) => ({ name: `o${n}`, color: [n, 0, 0], mask: maskOf(noise(share)) }));
  assert.equal(apart(objects).length, 3);
  assert.deepEqual(apart([objects[0], { mask: null }]), [[objects[0], { mask: null }]]);
  const { voxels, labels } = flattened(objects, grid);
  const names = Object.fromEntries(labels.map(({ name, idx }) => [name, idx]));
  assert.equal(new Set(Object.values(names)).size, labels.length);
  const back = unfolded(voxels, names, grid);
  for (const { name, mask } of objects) assert.deepEqual(back.get(name).toVoxels(grid), mask.toVoxels(grid));
});

test('a step back gives what was there before, and a new step forgets what was taken back', () => {
  const store = new Store(() => {});
  const states = [store.state];
  for (let n = 0; n < 3; n++) {
    store.change({ kept: [...store.state.kept, { id: n, mask: maskOf(noise(0.5)) }] });
    states.push(store.state);
  }
  store.changeObject(1, { locked: true });
  assert.ok(store.undo() && store.undo());
  assert.equal(store.state, states[2]);
  assert.ok(store.redo());
  assert.equal(store.state, states[3]);
  store.undo();
  store.change({ marks: [1] });
  assert.equal(store.redo(), false);
  while (store.undo());
  assert.equal(store.state, states[0]);
});

test('an uncertain phrase is said once', () => {
  const entities = [{ phrase: 'liver', status: 'uncertain' }];
  const warnings = ['uncertain: liver (score 0.31)', 'uncertain: liver lesion (score 0.31)', 'withheld: a phrase'];
  assert.deepEqual(notSaidTwice(warnings, entities), warnings.slice(1));
  const object = { score: 0.312, status: 'uncertain', state: 'new', mask: { count: 1234 } };
  assert.equal(measures(object, 0.001), '0.31 uncertain · 1.2 ml');
  assert.equal(measures({ ...object, kept: true, state: 'accepted' }, null), '0.31 · 1234 px');
});

test('scribbles pass every voxel between two points, and a brush paints its width', () => {
  const metadata = { viewPlaneNormal: [0, 0, 1] };
  const stroke = { points: [[0, 1, 2], [5, 1, 2]], metadata, tool: 'MimoScribble' }; // prettier-ignore
  const { prompts, slice } = promptsOf([stroke], grid);
  assert.equal(slice, 1);
  assert.deepEqual(
    prompts.foreground_scribble,
    [0, 1, 2, 3, 4, 5].map(i => [i, 1, 1])
  );
  const { k, pixels } = painted([[3, 2, 4]], metadata, grid, 2.1);
  assert.equal(k, 2);
  assert.deepEqual(
    pixels.sort((a, b) => a - b),
    [3 + 7, 2 + 14, 3 + 14, 4 + 14, 3 + 21]
  );
  assert.equal(painted([[3, 2, 4]], { viewPlaneNormal: [1, 0, 0] }, grid, 2), null);
  const point = (tool, z) => ({ tool, metadata, points: [[1, 1, z]] });
  const two = [point('MimoPositivePoint', 0), point('MimoNegativePoint', 6)];
  assert.deepEqual(promptsOf(two, grid), { prompts: { background: [[1, 1, 3]] }, slice: 3, left: 1, problem: null });
  assert.equal(promptsOf(two, grid, true).left, 0);
});

test('studies with images reach the mode', () => {
  for (const kinds of ['CT', 'DX', 'US', 'SEG\\CR', 'XA\\SR']) assert.ok(hasImages(kinds), kinds);
  for (const kinds of ['', 'SEG', 'SR\\PR']) assert.ok(!hasImages(kinds), kinds);
});

/** A server with one object at most, whose points turn single voxels on and off. */
class Server {
  sessions = new Map();
  asked = [];

  install() {
    globalThis.fetch = async (path, options) => {
      const url = new URL(path, 'http://server');
      const action = url.pathname.split('/').at(-1);
      this.asked.push(action);
      const given =
        options?.body instanceof FormData ? options.body : options?.body ? JSON.parse(options.body) : {};
      const session = given.session ?? url.searchParams.get('session');
      if (action === 'open') this.sessions.set(session, this.sessions.get(session) ?? new Map());
      const objects = this.sessions.get(session);
      if (!objects) return new Response('{"detail": "there is no such session"}', { status: 410 });
      if (action === 'start') {
        const { voxels } = await readNrrd(await given.get('label').arrayBuffer());
        const id = String(objects.size + 1);
        objects.set(id, { past: [], now: voxels, future: [], prompts: [] });
        return this.reply(objects, id);
      }
      const object = objects.get(given.object);
      const before = object?.now;
      if (action === 'prompt') {
        object.past.push(object.now);
        object.future = [];
        object.now = object.now.slice();
        object.prompts.push({ id: object.prompts.length + 1 });
        for (const [list, value] of [['foreground', 1], ['background', 0]]) {
          for (const [i, j, k] of given[list] ?? []) object.now[i + columns * (j + rows * k)] = value;
        }
      } // prettier-ignore
      if (action === 'undo') [object.future, object.now] = [[object.now, ...object.future], object.past.pop()];
      if (action === 'redo') {
        object.past.push(object.now);
        object.now = object.future.shift();
      }
      return this.reply(objects, given.object ?? null, before);
    };
  }

  reply(objects, object, before) {
    const now = object && objects.get(object).now;
    const changed = before && now.some((v, n) => v !== before[n]);
    const change = changed
      ? { box: [0, 0, 0, columns, rows, slices], mask: gzipSync(now).toString('base64') }
      : null;
    const described = [...objects].map(([id, { past, now: mask, future, prompts }]) => ({
      ...{ id, prompts, undo: past.length, redo: future.length, voxels: mask.reduce((sum, v) => sum + v, 0) },
    }));
    return new Response(JSON.stringify({ objects: described, object, change, names: ['liver'], warnings: [] }));
  }
}

test('the server follows undo and redo when the next mark comes, and a lost session goes on from the mask', async () => {
  const server = new Server();
  server.install();
  const said = [];
  const volume = new Volume({ series: '1.2', grid }, text => said.push(text));
  const start = maskOf(noise(0.3));
  let object = { name: 'liver', mask: start, server: null };
  const step = async prompts => {
    const { mask, server: there } = await volume.correct(object, { prompts });
    object = { ...object, mask, server: there };
    return object;
  };
  const turned = (mask, value, [i, j, k]) => mask.edited(k, grid, plane => (plane[i + columns * j] = value));
  const one = await step({ foreground: [[1, 1, 1]] });
  assert.deepEqual(one.mask, turned(start, 1, [1, 1, 1]));
  const two = await step({ foreground: [[2, 3, 2]], background: [[1, 1, 1]] });
  object = one; // a step back here; the server hears of it with the next mark
  server.asked.length = 0;
  const three = await step({ foreground: [[6, 4, 3]] });
  assert.deepEqual(server.asked, ['undo', 'prompt']);
  assert.deepEqual(three.mask, turned(one.mask, 1, [6, 4, 3]));
  object = two; // what was taken back for good is given to the server anew
  server.asked.length = 0;
  const four = await step({ foreground: [[0, 0, 0]] });
  assert.equal(server.asked.at(-2), 'start');
  assert.deepEqual(four.mask, turned(two.mask, 1, [0, 0, 0]));

  assert.deepEqual(said, []);
  server.sessions.clear(); // a restart
  const five = await step({ background: [[0, 0, 0]] });
  assert.deepEqual(five.mask, turned(four.mask, 0, [0, 0, 0]));
  assert.match(said[0], /lost this session/);
  object = four; // a step back to before the restart
  const six = await step({ foreground: [[3, 3, 3]] });
  assert.deepEqual(six.mask, turned(four.mask, 1, [3, 3, 3]));
  assert.equal(said.length, 1);
});
