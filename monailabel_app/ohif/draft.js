// What was accepted and is not saved yet, put by in the browser, so that a reload or a crash does not lose it.

const NAME = 'mimo-drafts';
const DAYS = 14; // after which a draft is forgotten

let opened = null;

function store() {
  opened ??= new Promise((resolve, reject) => {
    const request = window.indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(NAME);
    request.onsuccess = () => {
      forgetOld(request.result);
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function run(mode, work) {
  const database = await store();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(NAME, mode);
    const request = work(transaction.objectStore(NAME));
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

/** Keep a draft of a series: {kept, model}, as store.js has them. A browser that keeps nothing is no error. */
export async function putDraft(series, { kept, model }) {
  const objects = kept.map(({ mask, ...rest }) => ({ ...rest, server: null, slices: mask.slices }));
  await run('readwrite', all => all.put({ time: Date.now(), objects, model }, series)).catch(() => {});
}

export async function dropDraft(series) {
  await run('readwrite', all => all.delete(series)).catch(() => {});
}

/** The draft of a series: {time, objects, model}, with `slices` for each mask; null if there is none. */
export async function getDraft(series) {
  return (await run('readonly', all => all.get(series)).catch(() => null)) ?? null;
}

function forgetOld(database) {
  const oldest = Date.now() - DAYS * 24 * 3600 * 1000;
  const cursor = database.transaction(NAME, 'readwrite').objectStore(NAME).openCursor();
  cursor.onsuccess = () => {
    if (!cursor.result) return;
    if (cursor.result.value.time < oldest) cursor.result.delete();
    cursor.result.continue();
  };
}
