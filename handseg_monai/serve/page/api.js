// What the page asks of the server. What fails says why in words; `lost` means that no answer came.

import { inWords } from "./serve_strings.js";
import { say } from "./settings.js";

// Pages of other sites can't send this header.
const OWN = { "X-Handseg": "1" };

export class AnswerError extends Error {
  constructor(message, { status = 0 } = {}) {
    super(message);
    this.status = status;
    // A server that was started anew may want another token: what is sent once it has that counts.
    this.lost = status === 0 || status === 401;
  }
}

export async function ask(method, address, body = undefined) {
  const options = { method, headers: OWN };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { ...OWN, "Content-Type": "application/json" };
  }
  const response = await reach(address, options);
  try {
    return await response.json();
  } catch {
    throw new AnswerError(say("lost"));
  }
}

// Why the server refuses an address whose answer has no end; nothing where it answers, or does not answer at all.
export async function refusalOf(address) {
  const end = new AbortController();
  try {
    await reach(address, { signal: end.signal });
    return "";
  } catch (error) {
    return error.status ? error.message : "";
  } finally {
    end.abort();
  }
}

// A file that the server makes: its name, its content, and how many images it leaves out.
export async function fetchFile(address) {
  const response = await reach(address, {});
  const header = response.headers.get("Content-Disposition") ?? "";
  const [, full] = /filename\*=utf-8''([^;]+)/i.exec(header) ?? [];
  const [, plain] = /filename="?([^";]+)/.exec(header) ?? [];
  const leftOut = Number(response.headers.get("X-Left-Out") ?? 0);
  try {
    return { name: full ? decodeURIComponent(full) : plain ?? "handseg", content: await response.blob(), leftOut };
  } catch {
    throw new AnswerError(say("lost"));
  }
}

async function reach(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new AnswerError(say("lost"));
  }
  if (!response.ok) throw new AnswerError(wordsOf(await response.text().catch(() => ""), response.status), response);
  return response;
}

function wordsOf(text, status) {
  try {
    const { error } = JSON.parse(text);
    return error ? inWords("errors", error) : say("failedRequest", { status });
  } catch {
    return say("failedRequest", { status });
  }
}

// Send a file; `progressed` hears the share that is sent.
export function upload(file, name, progressed) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/images");
    for (const [header, value] of Object.entries(OWN)) request.setRequestHeader(header, value);
    request.setRequestHeader("X-Name", encodeURIComponent(name));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => progressed(event.loaded / Math.max(1, event.total)));
    request.addEventListener("load", () => {
      const { status, responseText } = request;
      if (status < 300) resolve({ ...JSON.parse(responseText), fresh: status === 201 });
      else reject(new AnswerError(wordsOf(responseText, status), { status }));
    });
    request.addEventListener("error", () => reject(new AnswerError(say("lost"))));
    request.send(file);
  });
}
