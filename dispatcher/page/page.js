/* The ops page: shows what `cloak serve` says. It listens to the server's events, and asks every two seconds where it cannot
 * listen. No number is computed here that the JSON does not hold, but for sums, shares, units, and how long something will
 * take. Texts go in as text, never as HTML. */
"use strict";

const PERIOD = 2000, SILENCE = 15000, PAGE = 50, SHOWN_WORKERS = 100;
let events = null, heard = -Infinity, busy = false, speed = 0, pace = null;
let chosen = /^#[0-9a-f-]{36}$/.test(location.hash) ? location.hash.slice(1) : "";
let mayAct = null, offset = 0, deadShown = 100, saidUntil = 0, deadSeen = "";

const at = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function time(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function list(into, pairs) {
  into.replaceChildren(...pairs.map(([name, value, bad]) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value, bad ? "bad" : ""));
    return pair;
  }));
}

/* `hold`: for so many ms nothing else is said. */
function say(text, bad, hold = 0) {
  if (!hold && performance.now() < saidUntil) return;
  saidUntil = hold ? performance.now() + hold : 0;
  const state = at("state");
  if (state.textContent !== text) state.textContent = text;
  state.className = bad ? "bad" : "";
}

function stateOf(album) {
  if (!album.books_balanced) return ["books do not balance", true];
  if (album.paused) return ["paused", false];
  if (album.cancelled) return ["cancelled", false];
  if (album.delivered + album.dead < album.total) return [album.leased ? "in work" : "waiting", false];
  return album.dead ? ["ended, some dead", true] : ["done", false];
}

function row(album) {
  const line = element("tr"), name = element("td"), bar = element("td"), progress = element("progress");
  const button = element("button", album.album.slice(0, 8));
  button.title = album.album;
  button.setAttribute("aria-label", `Show album ${album.album}`);
  button.dataset.album = album.album;
  progress.max = Math.max(album.total, 1);
  progress.value = album.delivered;
  progress.setAttribute("aria-label", `${album.delivered} of ${album.total} delivered`);
  name.append(button);
  bar.append(progress);
  const [state, bad] = stateOf(album);
  line.append(name, bar, element("td", `${album.delivered} / ${album.total}`, "number"),
    element("td", album.leased, "number"), element("td", album.dead, album.dead ? "number bad" : "number"),
    element("td", state, bad ? "bad" : ""));
  return line;
}

function showAlbums(albums, next) {
  const focused = document.activeElement?.dataset?.album;
  at("albums").replaceChildren(...albums.map(row));
  if (focused) document.querySelector(`[data-album="${CSS.escape(focused)}"]`)?.focus();
  at("older").hidden = next === null;
  at("older").dataset.next = next ?? "";
  at("newest").hidden = offset === 0;
}

/* Buttons for actions: [text, path below /v1, question to ask before]. Made anew only when they change, so that the
 * keyboard's focus stays. */
function buttons(into, actions) {
  const key = JSON.stringify(actions);
  into.hidden = !mayAct;
  if (into.dataset.key === key) return;
  into.dataset.key = key;
  const hadFocus = into.contains(document.activeElement);
  into.replaceChildren(...actions.map(([text, path, question]) => {
    const button = element("button", text);
    button.type = "button";
    button.dataset.path = path;
    if (question) button.dataset.question = question;
    return button;
  }));
  if (hadFocus) into.querySelector("button")?.focus();
}

function showWorkers(workers) {
  speed = workers.reduce((sum, worker) => sum + worker.photos_per_second, 0);
  at("worker-count").textContent = workers.length > SHOWN_WORKERS ? `(the first ${SHOWN_WORKERS} of ${workers.length})` : `(${workers.length})`;
  at("workers").replaceChildren(...workers.slice(0, SHOWN_WORKERS).map((worker) => {
    const line = element("tr");
    line.append(element("td", worker.worker, "name"), element("td", worker.device), element("td", worker.model_sha256.slice(0, 12)),
      element("td", worker.build), element("td", worker.stage), element("td", worker.photos, "number"),
      element("td", worker.photos_per_second.toFixed(2), "number"), element("td", `${worker.silent_seconds.toFixed(0)} s ago`, "number"));
    return line;
  }));
}

function showTenants(tenants) {
  const focused = document.activeElement?.closest("#tenants") && document.activeElement.dataset.tenant;
  at("tenant-part").hidden = tenants.length === 0;
  at("tenants").replaceChildren(...tenants.map((tenant) => {
    const line = element("tr");
    line.append(element("td", tenant.tenant, "name"), element("td", tenant.class), element("td", tenant.waiting, "number"),
      element("td", tenant.weight, "number"));
    const cell = element("td"), button = element("button", tenant.paused ? "Resume" : "Pause");
    button.type = "button";
    button.dataset.path = `tenants/${tenant.tenant}/${tenant.paused ? "resume" : "pause"}`;
    button.dataset.tenant = `${tenant.tenant} ${tenant.class}`;
    button.setAttribute("aria-label", `${button.textContent} tenant ${tenant.tenant}`);
    if (mayAct) cell.append(button);
    else if (tenant.paused) cell.textContent = "paused";
    line.append(cell);
    return line;
  }));
  if (focused) at("tenants").querySelector(`[data-tenant="${CSS.escape(focused)}"]`)?.focus();
}

function showDead(dead) {
  at("dead-part").hidden = dead.total === 0;
  at("dead-count").textContent = dead.next === null ? `(${dead.total})` : `(the first ${dead.dead.length} of ${dead.total})`;
  at("more-dead").hidden = dead.next === null || deadShown >= 1000;
  at("dead").replaceChildren(...dead.dead.map((photo) => {
    const line = element("tr");
    line.append(element("td", photo.key, "name"), element("td", photo.class), element("td", photo.text, "text"));
    return line;
  }));
}

function showQueue(queue) {
  at("queue").textContent = queue.queue;
  list(at("numbers"), [["Waiting", queue.waiting], ["In hand", queue.leased], ["Workers", queue.workers,
    queue.workers === 0 && queue.waiting > 0], ["Photos per second", speed.toFixed(2)],
    ["Device time ahead", time(queue.backlog_seconds)], ["Until it is empty", queue.workers && queue.backlog_seconds ? `about ${time(queue.backlog_seconds / queue.workers)}` : "–"],
    ["Longest wait", time(queue.oldest_seconds)], ["Retried so far", queue.retried], ["Lost with a worker", queue.lost],
    ["Given up", queue.given_up]]);
  showTenants(queue.tenants);
  buttons(at("queue-actions"), [queue.paused ? ["Resume everything", "queue/resume"]
    : ["Pause everything", "queue/pause", "Let everything wait? Photos in hand are finished."]]);
  if (offset === 0) showAlbums(queue.albums, queue.albums.length === PAGE ? PAGE : null);
  at("none").hidden = queue.albums.length > 0;
  const imbalanced = queue.albums.some((album) => !album.books_balanced);
  const dead = queue.albums.reduce((sum, album) => sum + album.dead, 0);
  say(imbalanced ? "The books of an album do not balance." : queue.paused ? "The whole queue is paused."
    : queue.workers === 0 && queue.waiting > 0 ? "Photos wait and nobody works." : dead ? `${dead} photos are dead: their album says why.` : "All is well.",
    imbalanced || dead > 0 || (queue.workers === 0 && queue.waiting > 0));
}

function bars(into, rows) {
  const most = Math.max(...rows.map(([, value]) => value), 1e-9);
  into.replaceChildren(...rows.map(([name, value, text]) => {
    const line = element("div", undefined, "bar"), meter = element("meter");
    meter.max = most;
    meter.value = value;
    meter.setAttribute("aria-label", name);
    line.append(element("span", name), meter, element("span", text));
    return line;
  }));
}

/* How long the rest of an album takes at the pace since it was chosen. */
function rest(album) {
  const left = album.total - album.delivered - album.dead - album.cancelled, now = performance.now();
  if (pace?.album !== album.album) pace = { album: album.album, delivered: album.delivered, since: now };
  const done = album.delivered - pace.delivered;
  return left === 0 ? "–" : done > 0 ? `about ${time(left * (now - pace.since) / 1000 / done)}` : "not yet known";
}

function showAlbum(album) {
  const photos = Math.max(album.delivered, 1), share = (x) => (x === undefined || x === null ? 0 : x);
  at("detail").hidden = false;
  at("detail-id").textContent = album.album;
  list(at("facts"), [["Cloaked", album.cloaked], ["Without a face", album.no_face], ["Residual", album.residual,
    album.residual > 0], ["Dead", album.dead, album.dead > 0], ["Faces before", album.faces_before],
    ["Faces after", album.faces_after, album.faces_after > 0], ["PSNR", album.psnr_db ? `${album.psnr_db.toFixed(1)} dB` : "–"],
    ["Steps per photo", (album.steps / photos).toFixed(1)], ["Time left", rest(album)]]);
  const path = `albums/${album.album}`, ended = album.delivered + album.dead + album.cancelled >= album.total;
  const actions = [];
  if (album.dead) actions.push(["Retry dead photos", `${path}/retry`]);
  if (album.paused) actions.push(["Resume", `${path}/resume`]);
  else if (!ended) actions.push(["Pause", `${path}/pause`]);
  if (!ended) actions.push(["Cancel", `${path}/cancel`, "Cancel this album for good? Photos in hand are finished."]);
  buttons(at("album-actions"), actions);
  bars(at("stages"), Object.entries(album.stage_seconds).filter(([stage]) => stage !== "queue_wait")
    .map(([stage, seconds]) => [stage, seconds / photos, `${(seconds / photos).toFixed(3)} s`]));
  const iou = "0.5";
  bars(at("faces"), [["recall before", share(album.recall?.before?.[iou])], ["recall after", share(album.recall?.after?.[iou])],
    ["AP before", share(album.ap?.before?.[iou])], ["AP after", share(album.ap?.after?.[iou])]]
    .map(([name, value]) => [name, value, value.toFixed(3)]));
}

async function ask(path) {
  const reply = await fetch(path, { signal: AbortSignal.timeout(10000) });
  return read(reply);
}

/* The JSON of an answer; an error's text is thrown. */
async function read(reply) {
  const text = await reply.text();
  const isJson = reply.headers.get("Content-Type") === "application/json";
  if (!reply.ok) {
    const error = new Error((isJson ? JSON.parse(text).error : text.trim()) || `HTTP ${reply.status}`);
    error.status = reply.status;
    throw error;
  }
  return JSON.parse(text);
}

async function act(button) {
  if (button.dataset.question && !confirm(button.dataset.question)) return;
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await read(await fetch(`/v1/${button.dataset.path}`,
      { method: "POST", headers: { "X-Cloak-Action": "page" }, signal: AbortSignal.timeout(30000) }));
    await show();
  } catch (error) {
    say(`That did not work: ${error.message}`, true, 10000);
  }
  button.removeAttribute("aria-disabled");
}

async function showChosen() {
  const wanted = chosen;
  let album;
  try {
    album = await ask(`/v1/albums/${wanted}`);
  } catch (error) {
    if (error.status !== 404) throw error;
    chosen = "";
    at("detail").hidden = true;
    return;
  }
  if (wanted !== chosen) return; /* another was chosen meanwhile */
  showAlbum(album);
  const seen = `${wanted} ${album.dead} ${deadShown}`; /* the list may be long: it is asked for when it is another one */
  if (seen === deadSeen) return;
  const dead = album.dead ? await ask(`/v1/albums/${wanted}/dead?limit=${deadShown}`) : { dead: [], total: 0, next: null };
  if (wanted !== chosen) return;
  showDead(dead);
  deadSeen = seen;
}

async function showRest() {
  if (mayAct === null) mayAct = (await ask("/v1/server")).actions;
  if (offset > 0) {
    const page = await ask(`/v1/albums?offset=${offset}&limit=${PAGE}`);
    showAlbums(page.albums, page.next);
  }
  if (chosen) await showChosen();
}

async function show() {
  showWorkers((await ask("/v1/workers")).workers);
  showQueue(await ask("/v1/queue"));
  await showRest();
}

/* Asks, and again after a while, unless events come meanwhile or nobody looks. */
async function refresh() {
  if (!document.hidden && performance.now() - heard > SILENCE) await now(show);
  setTimeout(refresh, PERIOD);
}

async function hear(queue) {
  heard = performance.now();
  if (queue.error) {
    say(`No answer: ${queue.error}`, true);
    return;
  }
  showQueue(queue);
  if (busy) return; /* the rest is being asked for */
  busy = true;
  await now(showRest);
  busy = false;
}

/* Only while somebody looks: a browser has six connections for a server, and all tabs share them. */
function listen() {
  if (document.hidden || events) return;
  events = new EventSource("/v1/events");
  events.addEventListener("queue", (event) => hear(JSON.parse(event.data)));
  events.addEventListener("workers", (event) => showWorkers(JSON.parse(event.data).workers));
  events.addEventListener("error", () => {
    heard = -Infinity; /* ask until it speaks again */
    if (events?.readyState !== EventSource.CLOSED) return; /* it tries again by itself */
    events = null; /* refused: later perhaps not */
    setTimeout(listen, 5 * PERIOD);
  });
}

function hush() {
  events?.close();
  events = null;
}

/* Something that asks at once instead of with the next round. */
async function now(what) {
  try {
    await what();
  } catch (error) {
    say(`No answer: ${error.message}`, true);
  }
}

at("albums").addEventListener("click", (event) => {
  if (!event.target.dataset.album) return;
  chosen = event.target.dataset.album;
  deadShown = 100;
  history.replaceState(null, "", `#${chosen}`);
  now(async () => {
    await showChosen();
    at("detail").scrollIntoView({ block: "nearest" });
  });
});
for (const id of ["queue-actions", "album-actions", "tenants"])
  at(id).addEventListener("click", (event) => { if (event.target.dataset.path) act(event.target); });
at("older").addEventListener("click", (event) => { offset = Number(event.target.dataset.next); now(show); });
at("newest").addEventListener("click", () => { offset = 0; now(show); });
at("more-dead").addEventListener("click", () => { deadShown = 1000; now(show); });
document.addEventListener("visibilitychange", () => (document.hidden ? hush() : listen()));
listen();
setTimeout(refresh, PERIOD);
