// Questions to this server. Where it cannot be reached, they wait and are asked again; an answer that is a refusal is an
// error with the server's own sentence.

const PAUSE = 2000; // milliseconds between two tries

/** Told with true when the server cannot be reached, with false when it can be again. */
let hear = (/** @type {boolean} */ _away) => {};
export function onAbsence(listener) {
  hear = listener;
}

/**
 * Send files straight to the session's private folder, one request a file; their names stay here.
 * @param {File[]} files several make one series
 * @param {(sentence: string) => void} tell
 * @param {AbortSignal} signal ends it
 * @returns {Promise<string>} what they are called on the server
 */
export async function send(files, tell, signal) {
  let id = null;
  for (const [number, file] of files.entries()) {
    tell(files.length > 1 ? `Sending file ${number + 1} of ${files.length} …` : "Sending …");
    const address = id === null ? "/upload" : `/upload?set=${encodeURIComponent(id)}`;
    const headers = { "Content-Type": "application/octet-stream" };
    const answer = await fetch(address, { method: "POST", body: file, headers, signal });
    if (!answer.ok) throw await refusal(answer);
    ({ id } = await answer.json());
  }
  return id;
}

/** The server's own sentence as an error. */
async function refusal(answer) {
  const text = await answer.text();
  let sentence = text;
  try {
    sentence = JSON.parse(text).detail ?? text;
  } catch {
    // plain text
  }
  return Object.assign(new Error(String(sentence)), { status: answer.status });
}

/**
 * Ask the server.
 * @param {string} address
 * @param {object | null} [body] sent as JSON by POST; without it the address is read
 * @returns {Promise<any>}
 */
export async function ask(address, body = null) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  for (;;) {
    let answer;
    try {
      answer = await fetch(address, { credentials: "same-origin", cache: "no-store", ...options });
    } catch {
      hear(true);
      await new Promise((done) => setTimeout(done, PAUSE));
      continue;
    }
    hear(false);
    if (answer.ok) return answer.json();
    throw await refusal(answer);
  }
}
