// Questions to this server; an answer that is a refusal is an error with the server's own sentence. Where the network is
// away, they wait (presence.js).

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
  const answer = await fetch(address, { credentials: "same-origin", cache: "no-store", ...options });
  if (!answer.ok) throw await refusal(answer);
  return answer.json();
}
