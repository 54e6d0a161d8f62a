// The server's API: one function that fetches, asks for a key, waits while the server is busy, and says what went wrong.

import { $, openDialog } from "./dom.js";

const TIMEOUT_MS = 60_000;
const MOST_WAITING_S = 30;

let key = ""; // in memory only
let asking = null;

// What to tell the user. `again`: trying again may help. `code`: the server's, for programs.
export class Refused extends Error {
  constructor(message, again = false, code = "") {
    super(message);
    this.again = again;
    this.code = code;
  }
}

export const hasKey = () => key !== "";

// Resolves to a successful Response, else throws a Refused.
export async function call(path, { query = {}, body, json, onbusy = () => {} } = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  let waited = false;
  for (;;) {
    const headers = { "X-Requested-With": "keensight" }; // the server knows its own page by it, whatever the proxy does
    if (json !== undefined) headers["Content-Type"] = "application/json";
    const sent = key;
    if (sent) headers.Authorization = `Bearer ${sent}`;
    const post = body !== undefined || json !== undefined;
    let response;
    try {
      response = await fetch(url, {
        method: post ? "POST" : "GET",
        body: json === undefined ? body : JSON.stringify(json),
        headers,
        credentials: "same-origin",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch (error) {
      if (error.name === "TimeoutError") throw new Refused("The server gave no answer within a minute.", true);
      throw new Refused("The server cannot be reached. Is it still running, and are you still connected?", true);
    }
    if (response.ok) return response;
    if (response.status === 401) {
      if (key === sent) await askKey(sent !== "");
      continue;
    }
    const busy = response.status === 503 || response.status === 429;
    if (busy && !waited) {
      waited = true;
      const seconds = Math.min(MOST_WAITING_S, Math.max(0.2, Number(response.headers.get("Retry-After")) || 1));
      onbusy(seconds);
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    const error = await response.json().then((answer) => answer.error, () => null);
    const said = error?.message ?? "";
    if (busy) throw new Refused(`The server is busy. Try again in a moment.${said ? ` It said: ${said}` : ""}`, true);
    if (response.status === 413 && !said) throw new Refused("It is too large for the proxy before this server. Send a smaller one.");
    throw new Refused(said || `The server answered with status ${response.status}.`, response.status >= 500, error?.code);
  }
}

// One dialog, however many requests wait for the key.
function askKey(wrong) {
  asking ??= (async () => {
    $("key-title").textContent = wrong ? "That key was not accepted. Another?" : "This server asks for a key";
    $("key").value = "";
    let given = "";
    const take = (event) => {
      event.preventDefault();
      given = $("key").value.trim();
      $("key-dialog").close();
    };
    $("key-form").addEventListener("submit", take);
    await openDialog($("key-dialog"));
    $("key-form").removeEventListener("submit", take);
    $("key").value = "";
    if (!given) throw new Refused("This server answers only with a key.", true);
    if (!/^[!-~]+$/.test(given)) throw new Refused("A key has only plain letters, digits and signs.", true);
    key = given;
  })().finally(() => (asking = null));
  return asking;
}
