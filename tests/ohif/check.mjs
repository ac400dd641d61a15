// Run by test_modules.py: reads what ITK says of a series from CASE/case.json, and compares or writes.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

const modules = new URL('../../monailabel_app/ohif/', import.meta.url);
const { checkSameGrid, Grid } = await import(new URL('geometry.js', modules));
const { readNrrd, writeNrrd } = await import(new URL('nrrd.js', modules));
const { pieces } = await import(new URL('answer.js', modules));
const { boxOf } = await import(new URL('prompts.js', modules));
const { sentenceOf } = await import(new URL('client.js', modules));

const folder = process.env.CASE;
const given = JSON.parse(readFileSync(`${folder}/case.json`));
const planes = Object.fromEntries(given.images.map(image => [image.imageId, image.plane]));
const grid = new Grid(
  given.images.map(({ imageId }) => imageId),
  imageId => planes[imageId]
);
const buffer = path => {
  const bytes = readFileSync(path);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
};

test('voxels and millimetres are those of ITK', () => {
  for (const { voxel, world } of given.points) {
    grid.toWorld(voxel).forEach((v, axis) => assert.ok(Math.abs(v - world[axis]) < 1e-4));
    grid.toVoxel(world).forEach((v, axis) => assert.ok(Math.abs(v - voxel[axis]) < 1e-4));
  }
});

test('a label map is read as pynrrd and ITK wrote it', async () => {
  for (const name of ['raw.nrrd', 'gzip.nrrd', 'short.nrrd']) {
    const mask = await readNrrd(buffer(`${folder}/${name}`));
    checkSameGrid(mask, grid);
    assert.deepEqual(mask.sizes, [grid.columns, grid.rows, grid.slices]);
    for (const { at, value } of given.voxels) {
      assert.equal(mask.voxels[at[0] + grid.columns * (at[1] + grid.rows * at[2])], value);
    }
    assert.equal(mask.voxels.filter(Boolean).length, given.voxels.length);
  }
});

test('a label map of another grid is refused', async () => {
  const mask = await readNrrd(buffer(`${folder}/raw.nrrd`));
  assert.throws(() => checkSameGrid({ ...mask, sizes: [grid.rows, grid.columns, grid.slices] }, grid), /not shown/);
  const moved = [mask.origin[0] + 5, mask.origin[1], mask.origin[2]];
  assert.throws(() => checkSameGrid({ ...mask, origin: moved }, grid), /not begin/);
  await assert.rejects(readNrrd(new TextEncoder().encode('<html>').buffer));
  await assert.rejects(readNrrd(buffer(`${folder}/raw.nrrd`).slice(0, -10)), /cut short/);
});

test('a label map is written', async () => {
  const voxels = new Uint8Array(grid.columns * grid.rows * grid.slices);
  for (const { at, value } of given.voxels) voxels[at[0] + grid.columns * (at[1] + grid.rows * at[2])] = value;
  writeFileSync(`${folder}/written.nrrd`, Buffer.from(await (await writeNrrd(voxels, grid)).arrayBuffer()));
});

test('an answer is cut at its phrases, counted in code points', () => {
  const text = '𝐀 left kidney and a cyst.';
  const cut = pieces(text, [
    { span: [20, 24] },
    { span: [2, 13] },
    { span: null },
    { span: [5, 8] },
    { span: [20, 99] },
  ]);
  assert.equal(cut.map(piece => piece.text).join(''), text);
  assert.deepEqual(
    cut.filter(({ entity }) => entity !== null),
    [
      { text: 'left kidney', entity: 1 },
      { text: 'cyst', entity: 0 },
    ]
  );
});

test('a drawn box holds the voxels whose middles it holds, and stays in the image', () => {
  const small = { columns: 10, rows: 8 };
  assert.deepEqual(
    boxOf(
      [
        [1.4, 2.6, 0],
        [4.6, 5.1, 0],
      ],
      small
    ),
    [2, 3, 5, 6]
  );
  assert.deepEqual(
    boxOf(
      [
        [4.6, 5.1, 0],
        [1.4, 2.6, 0],
      ],
      small
    ),
    [2, 3, 5, 6]
  );
  assert.deepEqual(
    boxOf(
      [
        [-9, -9, 0],
        [99, 99, 0],
      ],
      small
    ),
    [0, 0, 10, 8]
  );
  assert.deepEqual(
    boxOf(
      [
        [3.2, 3.2, 0],
        [3.4, 3.4, 0],
      ],
      small
    ),
    [4, 4, 5, 5]
  );
});

test('errors of the server become sentences', async () => {
  const said = (status, body) => sentenceOf(new Response(body, { status }));
  assert.equal(
    await said(400, '{"detail": "slice: found 99, expected 0 to 15."}'),
    'slice: found 99, expected 0 to 15.'
  );
  assert.equal(await said(503, '{"detail": "There are no weights."}'), 'There are no weights.');
  assert.match(await said(500, '{"detail": "Traceback (most recent call last)\\n..."}'), /failed on this request/);
  assert.match(await said(502, '<html>'), /error 502/);
  assert.match(await said(422, '{"detail": [{"msg": "Field required"}]}'), /Field required/);
});
