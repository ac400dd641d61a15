// Reading and writing label maps as NRRD, the format in which MONAI Label answers OHIF.

const BYTES = {
  uchar: Uint8Array, 'unsigned char': Uint8Array, uint8: Uint8Array, uint8_t: Uint8Array,
  short: Int16Array, int16: Int16Array, int16_t: Int16Array, 'signed short': Int16Array,
  ushort: Uint16Array, 'unsigned short': Uint16Array, uint16: Uint16Array, uint16_t: Uint16Array,
}; // prettier-ignore

export async function through(stream, bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

const vectorOf = text =>
  text
    .trim()
    .replace(/^\(|\)$/g, '')
    .split(',')
    .map(Number);

/**
 * @param {ArrayBuffer} buffer a whole NRRD file, raw or gzip
 * @returns {Promise<{sizes: number[], origin: number[] | null, voxels: Uint8Array}>} origin in millimetres LPS; the first
 *   axis runs fastest; labels above 255 are refused
 * @throws {Error} the file is no label map
 */
export async function readNrrd(buffer) {
  const bytes = new Uint8Array(buffer);
  const end = endOfHeader(bytes);
  const lines = new TextDecoder().decode(bytes.subarray(0, end)).split(/\r?\n/);
  if (!lines[0].startsWith('NRRD')) throw new Error('The server sent a mask that is not an NRRD file.');
  const fields = {};
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) {
      fields[line.slice(0, colon).trim().toLowerCase()] = line.slice(colon + 1).trim();
    }
  }
  const sizes = (fields.sizes ?? '').split(/\s+/).map(Number);
  const count = sizes.reduce((a, b) => a * b, 1);
  const Type = BYTES[fields.type];
  if (!Type || !(count > 0)) throw new Error(`The server sent a mask of an unknown type (${fields.type}).`);
  if (fields.endian === 'big' && Type.BYTES_PER_ELEMENT > 1) throw new Error('The server sent a big-endian mask.');
  let data = bytes.subarray(end);
  if (/^gz/.test(fields.encoding)) data = await through(new DecompressionStream('gzip'), data);
  else if (fields.encoding !== 'raw') {
    throw new Error(`The server sent a mask in an unknown encoding (${fields.encoding}).`);
  }
  if (data.byteLength < count * Type.BYTES_PER_ELEMENT) throw new Error('The server sent a mask that is cut short.');
  const values = new Type(data.slice(0, count * Type.BYTES_PER_ELEMENT).buffer);
  if (values.some(value => value > 255 || value < 0)) {
    throw new Error('The server sent a mask with more than 255 labels.');
  }
  return { sizes, origin: originOf(fields), voxels: Uint8Array.from(values) };
}

function originOf(fields) {
  if (!fields['space origin']) return null;
  const [x, y, z = 0] = vectorOf(fields['space origin']);
  const space = (fields.space ?? '').toLowerCase();
  if (space === 'right-anterior-superior' || space === 'ras') return [-x, -y, z];
  return [x, y, z];
}

function endOfHeader(bytes) {
  for (let n = 0; n + 1 < bytes.length; n++) {
    if (bytes[n] !== 10) continue;
    if (bytes[n + 1] === 10) return n + 2;
    if (bytes[n + 1] === 13 && bytes[n + 2] === 10) return n + 3;
  }
  throw new Error('The server sent a mask without a header.');
}

/**
 * A gzipped NRRD file of labels on `grid` (geometry.js).
 * @param {Uint8Array} voxels [columns x rows x slices], the first axis fastest
 * @returns {Promise<Blob>}
 */
export async function writeNrrd(voxels, grid) {
  const { origin, row, column, iStep, jStep } = grid.planes[0];
  const last = grid.planes[grid.slices - 1].origin;
  const step = grid.slices > 1 ? last.map((v, axis) => (v - origin[axis]) / (grid.slices - 1)) : grid.normal;
  const written = v => `(${v.map(x => x.toPrecision(12)).join(',')})`;
  const header = [
    'NRRD0004',
    'type: uint8',
    'dimension: 3',
    'space: left-posterior-superior',
    `sizes: ${grid.columns} ${grid.rows} ${grid.slices}`,
    `space directions: ${[row.map(v => v * iStep), column.map(v => v * jStep), step].map(written).join(' ')}`,
    'kinds: domain domain domain',
    'encoding: gzip',
    `space origin: ${written(origin)}`,
    '',
    '',
  ].join('\n');
  return new Blob([header, await through(new CompressionStream('gzip'), voxels)], { type: 'application/octet-stream' });
}
