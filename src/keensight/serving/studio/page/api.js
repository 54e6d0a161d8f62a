// The studio's server: one function that asks, and one that tells of every change.

export class Refused extends Error {}

export async function call(path, { method, json, body, query = {} } = {}) {
  const url = new URL(`api/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== null) url.searchParams.set(name, value);
  const response = await fetch(url, {
    method: method ?? (json !== undefined || body !== undefined ? "POST" : "GET"),
    headers: json !== undefined ? { "Content-Type": "application/json" } : {},
    body: json !== undefined ? JSON.stringify(json) : body,
    cache: "no-store",
  }).catch(() => {
    throw new Refused("The studio does not answer. Is it still running? Your pictures are safe in their folder.");
  });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Refused(answer?.error?.message ?? `The studio failed (${response.status}).`);
  return answer;
}

export const pathOf = (file) => file.split("/").map(encodeURIComponent).join("/");
export const small = (file) => `api/small/${pathOf(file)}`;

// Calls `changed` with every new state, for ever.
export async function follow(changed, lost) {
  let number = 0;
  for (;;) {
    try {
      const state = await call("state", { query: { after: number } });
      number = state.number;
      changed(state);
    } catch (error) {
      lost(error);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      number = 0;
    }
  }
}
