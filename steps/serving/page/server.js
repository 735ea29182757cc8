// Asks the model server, with the token that a person has entered.

const PLACE = "recommender-token";

/** What the server has refused, in its own sentence. Status 0 is no answer at all. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export class Server {
  /** `onToken(sentence)` is called when the server asks for a token, or for another one. */
  constructor(onToken) {
    this.onToken = onToken;
    this.paths = {};
    this.schemas = {};
    this.may = [];
    this.tokens = false;
  }

  get token() {
    return sessionStorage.getItem(PLACE) ?? "";
  }

  set token(text) {
    if (text) sessionStorage.setItem(PLACE, text);
    else sessionStorage.removeItem(PLACE);
  }

  /** Learns what can be asked, and what this person may do. */
  async learn() {
    const description = await this.get("openapi.json");
    this.paths = Object.fromEntries(
      Object.entries(description.paths).map(([path, methods]) => [path.replace(/{[^}]*}/g, "{}"), methods]));
    this.schemas = description.components.schemas;
    this.may = [];
    const access = await this.get("access");
    this.may = access.may;
    this.tokens = access.tokens;
  }

  /** Whether there is such a path: `has("/users/{}")`, `has("/promote", "post")`. */
  has(path, method = "get") {
    return Boolean(this.paths[path]?.[method]);
  }

  /** Whether lists of recommendations come with names where they are asked for. */
  get names() {
    return Boolean(this.schemas.Recommend?.properties?.names);
  }

  /** Parts of a path that come from data are given as a list: `get(["users", id])`. */
  get(path, query = {}) {
    return this.#json(address(path, query), {});
  }

  post(path, body) {
    const headers = { "content-type": "application/json" };
    return this.#json(address(path, {}), { method: "POST", headers, body: JSON.stringify(body) });
  }

  /** A page of the server as a file, where a link could not carry the token. */
  async file(path) {
    return (await this.#ask(path, {})).blob();
  }

  async #json(where, options) {
    return (await this.#ask(where, options)).json();
  }

  /** Who asks more than a client may is told when to ask again, and does. */
  async #ask(where, options, tries = 3) {
    const headers = { ...options.headers, ...(this.token ? { authorization: `Bearer ${this.token}` } : {}) };
    let answer;
    try {
      answer = await fetch(where, { ...options, headers });
    } catch {
      throw new Refused(0, "the server does not answer; it is asked again every few seconds");
    }
    if (answer.ok) return answer;
    if (answer.status === 429 && tries > 1) {
      await new Promise((resolve) => { setTimeout(resolve, 1000 * (Number(answer.headers.get("retry-after")) || 1)); });
      return this.#ask(where, options, tries - 1);
    }
    const sentence = await answer.json().then((body) => body.detail, () => `the server answered ${answer.status}`);
    if (answer.status === 401) this.onToken(sentence);
    throw new Refused(answer.status, sentence);
  }
}

function address(path, query) {
  const parts = Array.isArray(path) ? path.map(encodeURIComponent).join("/") : path;
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined)).toString();
  return asked ? `${parts}?${asked}` : parts;
}
