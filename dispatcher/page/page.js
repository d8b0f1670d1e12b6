/* The ops page: asks `cloak serve` every two seconds and shows what it says. No number is computed here that the JSON does
 * not hold, but for sums, shares and units. Texts go in as text, never as HTML. */
"use strict";

const PERIOD = 2000;
let chosen = decodeURIComponent(location.hash.slice(1));

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

function say(text, bad) {
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

function showQueue(queue) {
  at("queue").textContent = queue.queue;
  list(at("numbers"), [["Waiting", queue.waiting], ["In hand", queue.leased], ["Workers", queue.workers,
    queue.workers === 0 && queue.waiting > 0], ["Device time ahead", time(queue.backlog_seconds)],
    ["Longest wait", time(queue.oldest_seconds)]]);
  const focused = document.activeElement?.dataset?.album;
  at("albums").replaceChildren(...queue.albums.map(row));
  if (focused) document.querySelector(`[data-album="${CSS.escape(focused)}"]`)?.focus();
  at("none").hidden = queue.albums.length > 0;
  const imbalanced = queue.albums.some((album) => !album.books_balanced);
  const dead = queue.albums.reduce((sum, album) => sum + album.dead, 0);
  say(imbalanced ? "The books of an album do not balance." : queue.paused ? "The whole queue is paused."
    : queue.workers === 0 && queue.waiting > 0 ? "Photos wait and nobody works." : dead ? `${dead} photos are dead: cloak status ALBUM --dead says why.` : "All is well.",
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

function showAlbum(album) {
  const photos = Math.max(album.delivered, 1), share = (x) => (x === undefined || x === null ? 0 : x);
  at("detail").hidden = false;
  at("detail-id").textContent = album.album;
  list(at("facts"), [["Cloaked", album.cloaked], ["Without a face", album.no_face], ["Residual", album.residual,
    album.residual > 0], ["Dead", album.dead, album.dead > 0], ["Faces before", album.faces_before],
    ["Faces after", album.faces_after, album.faces_after > 0], ["PSNR", album.psnr_db ? `${album.psnr_db.toFixed(1)} dB` : "–"],
    ["Steps per photo", (album.steps / photos).toFixed(1)]]);
  bars(at("stages"), Object.entries(album.stage_seconds).filter(([stage]) => stage !== "queue_wait")
    .map(([stage, seconds]) => [stage, seconds / photos, `${(seconds / photos).toFixed(3)} s`]));
  const iou = "0.5";
  bars(at("faces"), [["recall before", share(album.recall?.before?.[iou])], ["recall after", share(album.recall?.after?.[iou])],
    ["AP before", share(album.ap?.before?.[iou])], ["AP after", share(album.ap?.after?.[iou])]]
    .map(([name, value]) => [name, value, value.toFixed(3)]));
}

async function ask(path) {
  const reply = await fetch(path, { signal: AbortSignal.timeout(10000) });
  if (!reply.ok) throw new Error((await reply.text()).trim() || `HTTP ${reply.status}`);
  return reply.json();
}

async function refresh() {
  try {
    showQueue(await ask("/v1/queue"));
    if (chosen) showAlbum(await ask(`/v1/albums/${encodeURIComponent(chosen)}`));
  } catch (error) {
    say(`No answer: ${error.message}`, true);
  }
  setTimeout(refresh, PERIOD);
}

at("albums").addEventListener("click", async (event) => {
  if (!event.target.dataset.album) return;
  chosen = event.target.dataset.album;
  history.replaceState(null, "", `#${chosen}`);
  try {
    showAlbum(await ask(`/v1/albums/${chosen}`));
    at("detail").scrollIntoView({ block: "nearest" });
  } catch (error) {
    say(`No answer: ${error.message}`, true);
  }
});
refresh();
