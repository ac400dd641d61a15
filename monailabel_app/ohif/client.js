// The server's answers, and its errors as sentences that a reader of images understands.

/** An error whose message is meant for the user; `status` is that of the reply, if there was one. */
export class ServerError extends Error {
  constructor(message, { status, cause } = {}) {
    super(message, { cause });
    this.status = status;
  }
}

const SENTENCES = {
  401: 'The server asks you to log in first.',
  403: 'You are not allowed to do this on this server.',
  404: 'The server does not know this image or this model.',
  413: 'The request is larger than the server takes.',
  429: 'The server is busy. Try again in a moment.',
  503: 'The server is not ready. Try again in a moment.',
  504: 'The server took too long.',
};

/** What a reply that is not 2xx says, in one sentence. */
export async function sentenceOf(response) {
  let detail = '';
  try {
    const body = await response.json();
    detail = typeof body.detail === 'string' ? body.detail : (body.detail?.[0]?.msg ?? body.message ?? '');
  } catch {
    // not JSON: the status is all there is
  }
  const known = SENTENCES[response.status];
  // A traceback or a path is of no use to the reader.
  const plain = detail && detail.length <= 300 && !/Traceback|\n/.test(detail);
  if (plain && (response.status < 500 || response.status === 503)) return detail;
  if (known) return known;
  return `The server failed on this request (error ${response.status}). Its log says why.`;
}

async function call(path, options) {
  let response;
  try {
    // A browser may keep what was true a moment ago, even that a session was not there.
    response = await fetch(path, { cache: 'no-store', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ServerError('The server does not answer. Is it still running?', { cause: error });
  }
  if (!response.ok) throw new ServerError(await sentenceOf(response), { status: response.status });
  return response;
}

/** What the server says of itself and its models. */
export async function info() {
  return (await call('/info/')).json();
}

/**
 * Ask about an image.
 * @param {string} image the series' UID
 * @param {object} params question, prompts and slice
 * @returns {Promise<{reply: object, mask: ArrayBuffer | null}>}
 */
export async function ask(image, params, signal) {
  const body = new FormData();
  const wanted = { result_extension: '.nrrd', result_dtype: 'uint8', result_compress: true };
  body.append('params', JSON.stringify({ ...params, ...wanted }));
  const query = new URLSearchParams({ image, output: 'all' });
  const response = await call(`/infer/mimo_ask?${query}`, { method: 'POST', body, signal });
  if (!response.headers.get('content-type')?.startsWith('multipart/form-data')) {
    return { reply: await response.json(), mask: null };
  }
  return twoParts(response);
}

/** A request of a session about a volume: see volume.js. */
export async function volume(action, body, signal) {
  const headers = { 'Content-Type': 'application/json' };
  return (await call(`/volume/${action}`, { method: 'POST', headers, body: JSON.stringify(body), signal })).json();
}

/** Give a session a mask to go on from. */
export async function startFrom(session, image, label, params) {
  const body = new FormData();
  body.append('params', JSON.stringify(params));
  body.append('label', label, 'label.nrrd');
  return (await call(`/volume/start?${new URLSearchParams({ session, image })}`, { method: 'POST', body })).json();
}

/** The mask of a session's object, as NRRD. */
export async function maskOf(session, image, object, signal) {
  const query = new URLSearchParams({ session, image, object });
  return (await call(`/volume/mask?${query}`, { signal })).arrayBuffer();
}

/** How far a question about a volume is: {done, of}, null where none is under way. */
export async function progress(session, image) {
  return (await call(`/volume/progress?${new URLSearchParams({ session, image })}`)).json();
}

/** The masks of a SEG about an image, overlaps and all: see saved_masks.py. */
export async function savedMasks(image, seg) {
  return twoParts(await call(`/masks?${new URLSearchParams({ image, seg })}`));
}

async function twoParts(response) {
  const form = await response.formData();
  const [said, file] = [form.get('params'), form.get('image')];
  return {
    reply: JSON.parse(said instanceof Blob ? await said.text() : said),
    mask: file instanceof Blob ? await file.arrayBuffer() : null,
  };
}

/** Save a label of an image as final. */
export async function save(image, label, params) {
  const body = new FormData();
  body.append('params', JSON.stringify(params));
  body.append('label', label, 'label.nrrd');
  const query = new URLSearchParams({ image, tag: 'final' });
  return (await call(`/datastore/label?${query}`, { method: 'PUT', body })).json();
}

/** Tell the server's audit log what a person decided about a phrase; the work goes on whether or not it hears. */
export function decided(image, { phrase, score }, decision, reviewer) {
  const body = JSON.stringify({ image, phrase, score, decision, reviewer });
  const headers = { 'Content-Type': 'application/json' };
  fetch('/decision', { method: 'POST', headers, body }).catch(() => {});
}
