"use strict";
/* The reading worklist. Everything from the server goes into the page as text. */
const $ = (id) => document.getElementById(id);
const state = { session: null, tab: "open", rows: [], chosen: null, detail: null, overlay: true, source: null };

function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  fill(element, children);
  return element;
}

/* In place of what is there; lists in lists are flattened, nothing is left out. */
function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
}

function svg(tag, properties) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(properties)) element.setAttribute(key, value);
  return element;
}

/* An answer that comes when its session is over must not fill the page again: nobody gets it. */
async function ask(path, options) {
  const session = state.session;
  const answer = await fetch(path, { credentials: "same-origin", ...options });
  if (answer.status === 401 && path !== "/login") {
    if (state.session === session) showLogin();
    throw new Error("log in first");
  }
  const json = answer.status === 204 ? {} : await answer.json();
  if (!answer.ok) throw new Error(json.error || "the daemon answered " + answer.status);
  if (state.session !== session) await new Promise(() => {});
  return json;
}

const change = (path) => ask(path, { method: "POST", headers: { "Medaid-CSRF": state.session.csrf } });

/* ---- words ---- */

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return s + " s";
  if (s < 5400) return Math.round(s / 60) + " min";
  if (s < 172800) return (s / 3600).toFixed(1) + " h";
  return Math.round(s / 86400) + " d";
}
const since = (time) => (time ? duration((Date.now() - Date.parse(time)) / 1000) : "-");
const clockTime = (time) => (time ? new Date(time).toLocaleString() : "-");
const until = (time) => duration((Date.parse(time) - Date.now()) / 1000);

/* When it will have been read: half of its kind earlier, half later; four of five in between. */
function expected(study) {
  const eta = study.eta;
  if (!eta) return make("span", { class: "faint" }, "-");
  if (eta.overdue) return make("span", { class: "faint" }, "overdue");
  return make("span", {}, "in " + until(eta.at), make("div", { class: "faint small" }, until(eta.low) + " to " + until(eta.high)));
}
const expectedTimes = (study) => (study.eta && !study.eta.overdue ? clockTime(study.eta.at) + ", 80% between " +
  clockTime(study.eta.low) + " and " + clockTime(study.eta.high) : "");

/* What the estimates come from, below the list. */
function etaWords(eta) {
  if (!eta) return "";
  if (eta.none) return "No expected time of reading: " + eta.none + ".";
  return "Expected: " + eta.model + " model of " + eta.studies + " read studies; of " + eta.checked + " later ones " +
    Math.round(100 * eta.covered / Math.max(1, eta.checked)) + "% were read within their " + Math.round(100 * eta.confidence) + "% interval.";
}
const isUrgent = (study) => study.findings.some((f) => f.urgent);
const score = (f) => (f.is_probability ? "probability " : "score ") + f.score.toFixed(2);

/* Urgent first, then present, undetermined, absent, and the higher score: an image where the
 * model did not decide must not hide one that has the finding, nor one without it the doubt. */
const weight = { present: 2, undetermined: 1, absent: 0 };
const rank = (a, b) => b.urgent - a.urgent || weight[b.presence] - weight[a.presence] || b.score - a.score;

/* One line for each finding: of several images the one that comes first in that order. */
function strongest(findings) {
  const best = new Map();
  for (const f of findings) {
    const key = f.model + " " + f.key;
    if (!best.has(key) || rank(f, best.get(key)) < 0) best.set(key, f);
  }
  return [...best.values()].sort(rank);
}

/* Findings stay until an analysis brings others: what is of an earlier one is named so, and why
 * there is none of this one. */
function notes(study) {
  const old = study.findings.find((f) => f.generation !== study.generation);
  return [old ? make("div", { class: "stale" }, "From the earlier analysis " + old.generation +
      ": analysis " + study.generation + " has no findings yet.") : null,
    study.reason ? make("div", { class: "stale" }, study.reason)
      : study.findings.length ? null : make("span", { class: "faint" }, "none yet")];
}

function who(study) {
  const p = study.patient;
  if (!p) return make("span", { class: "mono" }, study.study);
  const name = (p.patient_name || "").split("=")[0].split("^").filter(Boolean).join(", ");
  return make("span", {}, name || "no name", make("div", { class: "faint small" },
    [p.patient_id, p.birth_date, p.sex, p.accession_number].filter(Boolean).join(" · ")));
}

function badge(study) {
  if (isUrgent(study)) return make("span", { class: "badge urgent" }, "URGENT");
  if (study.priority > 0) return make("span", { class: "badge high" }, "HIGH");
  return make("span", { class: "badge routine" }, study.priority < 0 ? "LOW" : "routine");
}

function findingLine(f) {
  return make("div", { class: f.presence + (f.urgent ? " urgent" : "") },
    f.concept.meaning + ": " + f.presence, make("span", { class: "faint small" }, " (" + score(f) + ")"));
}

/* ---- the list ---- */

const LIST_ROWS = 200; /* the server sends no more */

function showList() {
  const body = $("list").tBodies[0];
  fill(body, state.rows.map((study) => {
    const row = make("tr", { tabindex: "0", "data-study": study.study, onclick: () => choose(study.study),
      onkeydown: (event) => { if (event.key === "Enter") choose(study.study); } },
      make("td", {}, badge(study)),
      make("td", { title: clockTime(study.clock.last_received) }, since(study.clock.last_received)),
      make("td", { title: expectedTimes(study) }, expected(study)),
      make("td", {}, who(study)),
      make("td", {}, notes(study), strongest(study.findings).map(findingLine)),
      make("td", {}, study.state, Object.entries(study.destinations).map(([name, d]) =>
        make("div", { class: "faint small" }, name + ": " + (d.dead ? d.dead + " undelivered" : d.pending ? "sending" : "stored")))));
    if (isUrgent(study)) row.classList.add("urgent");
    if (study.study === state.chosen) row.classList.add("chosen");
    return row;
  }));
  const isCut = state.rows.length >= LIST_ROWS;
  $("empty").textContent = isCut ? "The first " + LIST_ROWS + " studies. There may be more." : "No studies.";
  $("empty").hidden = state.rows.length > 0 && !isCut;
}

async function loadList() {
  const mine = state.asked = (state.asked || 0) + 1;
  const { studies, eta } = await ask("/api/v1/worklist" + (state.tab === "read" ? "?read=1" : ""));
  if (mine !== state.asked) return; /* a later question, perhaps of the other tab, is under way */
  state.rows = studies;
  $("eta").textContent = etaWords(eta);
  showList();
  if (state.chosen) await loadDetail();
}

/* ---- one study ---- */

function bar(f) {
  const picture = svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img",
    "aria-label": score(f) + ", threshold " + f.threshold.toFixed(2) });
  picture.append(svg("rect", { class: "fill", x: 0, y: 0, width: 100 * f.score, height: 10 }),
    svg("rect", { class: "mark", x: 100 * f.threshold - 0.4, y: 0, width: 0.8, height: 10 }));
  return make("div", { class: "bar" }, picture);
}

function findingBlock(study, f) {
  const mayJudge = state.session.role !== "viewer" && f.presence !== "undetermined" && f.generation === study.generation;
  const judge = (word) => act("/api/v1/study/" + study.study + "/" + word + "?model=" + encodeURIComponent(f.model) +
    "&finding=" + encodeURIComponent(f.key) + "&generation=" + study.generation, "Noted: you " + word + ".");
  return make("div", { class: "finding" }, findingLine(f), bar(f),
    make("div", { class: "faint small" }, "threshold " + f.threshold.toFixed(2) + ", " + f.model + " " + f.version),
    mayJudge ? make("div", { class: "actions" },
      make("button", { class: "agree", onclick: () => judge("agree") }, "Agree"),
      make("button", { class: "disagree", onclick: () => judge("disagree") }, "Disagree")) : null);
}

/* What to do next: proposals with what they stand on, then the other actions; a decision that is
 * pressed again is taken back. Nothing here orders anything. */
function followUp(study) {
  const f = study.follow_up;
  if (!f) return null;
  const mayDecide = state.session.role !== "viewer" && f.generation === study.generation;
  const own = new Map(f.decisions.filter((d) => d.reader === state.session.user).map((d) => [d.action, d.decision]));
  const decide = (word, key) => act("/api/v1/study/" + study.study + "/" + word + "?action=" + encodeURIComponent(key) +
    "&generation=" + study.generation, "Noted: " + word + " " + key + ".").then((done) => done && loadDetail());
  const button = (key, word, label, said) => make("button", { class: word, "data-action": key,
    "aria-pressed": String(own.get(key) === said),
    onclick: () => decide(own.get(key) === said ? "withdraw" : word, key) }, label);
  const buttons = (key) => mayDecide ? make("div", { class: "actions" },
    button(key, "accept", "Accept", "accepted"), button(key, "decline", "Decline", "declined")) : null;
  const said = (key) => f.decisions.filter((d) => d.action === key).map((d) => make("div", { class: "faint small" },
    d.decision + " by " + d.reader + ", " + clockTime(d.given) + (d.on_this_study ? "" : ", not on this study")));
  const proposed = new Set(f.proposals.map((p) => p.key));
  const others = f.choices.filter((c) => !proposed.has(c.key));
  return [make("h3", {}, "Follow-up"),
    make("p", { class: "faint small" }, "Proposed from decisions for similar patients. It orders nothing."),
    f.generation === study.generation ? null : make("div", { class: "stale" }, "From the earlier analysis " + f.generation + "."),
    f.proposals.map((p) => make("div", { class: "proposal" }, p.action.meaning,
      make("span", { class: "faint small" }, " (predicted " + p.score.toFixed(2) + " of 1)"),
      make("div", { class: "faint small" }, "accepted for " + p.accepted + " of " + p.similar_patients + " similar patients" +
        (p.alike_in.length ? ", alike in " + p.alike_in.join(", ") : "")),
      said(p.key), buttons(p.key))),
    f.proposals.length ? null : make("p", { id: "no-proposal" }, "No proposal: " + f.why_none + "."),
    make("p", { class: "faint small" }, "Of " + f.actions + " actions " + f.abstained + " have decisions for fewer than " +
      f.min_support + " similar patients, " + f.rather_declined + " were rather declined."),
    others.length ? make("details", { id: "other-actions", open: state.others ? "" : null,
      ontoggle: (event) => { state.others = event.target.open; } }, make("summary", {}, "Other actions"),
      others.map((c) => make("div", { class: "proposal" }, c.action.meaning, said(c.key), buttons(c.key)))) : null];
}

function picture(study) {
  if (!state.session.patient) return make("p", { class: "faint small" }, "Pictures are for those who may see patient data.");
  const at = "/api/v1/study/" + study.study;
  const tag = "?g=" + study.generation;
  const box = make("div", { class: "picture" });
  const image = make("img", { src: at + "/image" + tag, alt: "small picture of the image with the most urgent answer" });
  const overlay = make("img", { src: at + "/overlay" + tag, alt: "", class: "overlay" });
  image.addEventListener("error", () => box.replaceWith(make("p", { class: "faint small" }, "No picture.")));
  overlay.addEventListener("error", () => overlay.remove());
  overlay.hidden = !state.overlay;
  box.append(image, overlay);
  return box;
}

function detailList(pairs) {
  return make("dl", {}, pairs.map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function showDetail() {
  const study = state.detail;
  const pane = $("detail");
  if (!study) { pane.hidden = true; return; }
  pane.hidden = !isList();
  const clock = study.clock;
  fill(pane,
    make("h2", {}, badge(study), " ", who(study)),
    picture(study),
    make("div", { class: "actions" },
      make("button", { id: "toggle", onclick: toggleOverlay, "aria-pressed": String(state.overlay) }, "Overlay (o)"),
      state.session.role !== "viewer" && !clock.read ? make("button", { id: "mark-read", class: "main",
        onclick: markRead }, "Mark as read (r)") : null,
      state.session.role === "admin" ? make("button", { id: "retry", onclick: () =>
        act("/api/v1/study/" + study.study + "/retry", "It is tried again.") }, "Retry") : null),
    make("p", { id: "note", role: "status" }),
    make("h3", {}, "Findings"),
    notes(study), strongest(study.findings).map((f) => findingBlock(study, f)),
    followUp(study),
    make("div", { id: "similar" }, similarCases(study)),
    make("h3", {}, "Destinations"),
    Object.keys(study.destinations).length ? detailList(Object.entries(study.destinations).map(([name, d]) =>
      [name, d.sent + " stored, " + d.pending + " waiting, " + d.dead + " undelivered"])) : make("p", { class: "faint" }, "none"),
    make("h3", {}, "Clock"),
    detailList([["first image", clockTime(clock.first_received)], ["last image", clockTime(clock.last_received)],
      ["complete", clockTime(clock.complete)], ["analysed", clockTime(clock.analysis_end)],
      ...(study.eta && !clock.read ? [["expected to be read", study.eta.overdue ? "overdue" : expectedTimes(study)]] : []),
      ["stored", clockTime(clock.stored)], ["told", clockTime(clock.notified)], ["read", clockTime(clock.read)]]),
    make("p", { class: "faint small mono" }, "study " + study.study + ", " + study.state + ", analysis " + study.generation));
}

/* ---- similar cases ---- */

function caseCard(one) {
  const place = "/api/v1/study/" + one.study + "/image?g=" + one.generation;
  const image = one.kept && state.session.patient ? make("img", { src: place, alt: "", loading: "lazy" }) : null;
  if (image) image.addEventListener("error", () => image.remove());
  const words = one.findings.map((f) => make("div", { class: f.presence + (f.urgent ? " urgent" : "") },
    f.meaning + ": " + f.presence + (f.is_probability ? " " : " score ") + f.score.toFixed(2),
    f.verdict ? make("span", { class: "faint" }, ", a reader: " + f.verdict) : null));
  return make("li", { class: "case", "data-study": one.study },
    image, make("div", { class: "small" }, one.kept
      ? make("button", { class: "link", onclick: () => choose(one.study) }, who(one))
      : make("span", { class: "mono" }, one.study, make("div", { class: "faint small" }, "images gone"))),
    make("div", { class: "faint small" }, "distance " + one.distance.toFixed(3) + ", " + clockTime(one.analysed)),
    make("div", { class: "small" }, words.length ? words : make("span", { class: "faint" }, "no findings")));
}

function similarCases(study) {
  const known = state.similar;
  if (!known || known.study !== study.study || !known.cases.length) return [];
  return [make("h3", {}, "Similar cases"), make("ul", { class: "cases" }, known.cases.map(caseCard)),
    make("p", { class: "faint small" }, "What the network sees as alike, with age and sex; not a diagnosis.")];
}

/* Beside the study, never instead of it: whatever fails here leaves the page as it is. Asked again
   only of another analysis, or when there was nothing yet: the page is told of every change of any
   study, and the search looks at all cases. */
async function loadSimilar(study) {
  const known = state.similar;
  if (known && known.study === study.study && known.generation === study.generation && known.cases.length) return;
  let cases = [];
  try {
    cases = (await ask("/api/v1/study/" + study.study + "/similar")).cases;
  } catch (error) { cases = []; }
  const box = $("similar");
  if (!box || !state.detail || state.detail.study !== study.study) return;
  state.similar = { study: study.study, generation: study.generation, cases };
  fill(box, similarCases(study));
}

async function loadDetail() {
  const key = state.chosen;
  try {
    const study = await ask("/api/v1/study/" + key);
    if (state.chosen !== key) return;
    const note = $("note") ? $("note").textContent : "";
    const same = state.detail && state.detail.study === key;
    state.detail = study;
    showDetail();
    if (same) $("note").textContent = note;
    await loadSimilar(study);
  } catch (error) {
    state.chosen = state.detail = null;
    showDetail();
  }
}

async function choose(key) {
  state.chosen = key;
  state.similar = null;
  if (state.detail && state.detail.study !== key) { state.detail = null; $("detail").replaceChildren(); }
  for (const row of $("list").tBodies[0].rows) row.classList.toggle("chosen", row.dataset.study === key);
  await loadDetail();
}

async function act(path, words) {
  try {
    await change(path);
    if ($("note")) $("note").textContent = words;
    return true;
  } catch (error) {
    if ($("note")) $("note").textContent = "Not done: " + error.message;
    return false;
  }
}

/* The study that is shown, which is not yet the chosen one when somebody types quickly. */
async function markRead() {
  const study = state.detail;
  const at = state.rows.findIndex((row) => row.study === study.study);
  const next = state.rows[at + 1] || state.rows[at - 1];
  const done = await act("/api/v1/study/" + study.study + "/read?generation=" + study.generation, "Marked as read.");
  await loadList();
  if (done && state.tab === "open" && next && state.chosen === study.study) await choose(next.study);
}

function toggleOverlay() {
  state.overlay = !state.overlay;
  const overlay = document.querySelector(".overlay");
  if (overlay) overlay.hidden = !state.overlay;
  if ($("toggle")) $("toggle").setAttribute("aria-pressed", String(state.overlay));
}

/* ---- the report ---- */

function share(p) {
  return p ? p.value.toFixed(3) + " (" + p.low.toFixed(3) + " to " + p.high.toFixed(3) + ", " + p.studies + " studies)" : "nobody judged";
}
const quantiles = (q) => (q.studies ? [q.p50_s, q.p95_s, q.p99_s].map(duration).join(" / ") + " of " + q.studies : "-");

async function showReport() {
  const r = await ask("/api/v1/report");
  const reading = r.reading;
  fill($("report"),
    make("h2", {}, "Report"),
    detailList([["studies", String(r.studies)], ["failed", String(r.failed)], ["urgent", String(r.urgent)], ["read", String(reading.read)],
      ["last image to stored, p50 / p95 / p99", quantiles(r.time_to_notification)],
      ["last image to a notifier told", quantiles(r.time_to_notifier)],
      ["urgent ones waited for reading", quantiles(reading.urgent_waited)],
      ["the others waited for reading", quantiles(reading.routine_waited)],
      ["mean position of urgent studies", reading.urgent_position_by_arrival === undefined ? "-" :
        reading.urgent_position_by_arrival.toFixed(3) + " by arrival, " + reading.urgent_position_by_reading.toFixed(3) + " as read (0 is first)"]]),
    r.findings.map((f) => [make("h3", {}, f.meaning + " of " + f.model),
      detailList([["present / absent / undetermined", f.present + " / " + f.absent + " / " + f.undetermined],
        ["sensitivity", share(f.sensitivity)], ["specificity", share(f.specificity)], ["PPV", share(f.ppv)], ["NPV", share(f.npv)]])]),
    make("p", { class: "faint small" }, "Shares are of studies that readers judged, with 95% intervals."));
}

/* ---- the rules ---- */

function condition(c) {
  return make("div", { class: "small " + (c.holds ? "holds" : "fails") + " depth-" + Math.min(3, c.depth) },
    c.wanted, c.found ? make("span", { class: "faint" }, " - found " + c.found) : null);
}

async function explain(file) {
  $("rules-error").textContent = ""; fill($("rules-answer"));
  const query = new URLSearchParams();
  if ($("source").value) query.set("source", $("source").value);
  if ($("called").value) query.set("called", $("called").value);
  try {
    const answer = await ask("/api/v1/explain-rules?" + query, { method: "POST", body: file,
      headers: { "Medaid-CSRF": state.session.csrf, "Content-Type": "application/dicom" } });
    fill($("rules-answer"), answer.rules.length ? answer.rules.map((rule) => make("div", { class: "rule" },
      make("strong", { class: rule.matches ? "present" : "faint" }, rule.name + ": " +
        (rule.applies ? "applies" : rule.matches ? "matches, but an earlier one applies" : "does not match")),
      rule.conditions.map(condition))) : make("p", { class: "faint" }, "There are no rules in the configuration."));
  } catch (error) { $("rules-error").textContent = error.message; }
}

/* ---- the page ---- */

const isList = () => state.tab === "open" || state.tab === "read";

async function showTab(tab) {
  state.tab = tab;
  for (const name of ["open", "read", "report", "rules"]) $("tab-" + name).setAttribute("aria-pressed", String(name === tab));
  $("report").hidden = tab !== "report";
  $("rules").hidden = tab !== "rules";
  $("list-pane").hidden = !isList();
  if (!isList()) $("detail").hidden = true;
  if (tab === "report") await showReport();
  if (isList()) { await loadList(); showDetail(); }
}

function showLive(is) {
  $("live").className = is ? "on" : "off";
  $("live").textContent = is ? "live" : "not connected";
}

/* "live" only when the list on the screen is what the daemon now says. */
async function refresh() {
  if (!state.session || !isList()) return;
  try {
    await loadList();
    showLive(true);
  } catch (error) { showLive(false); }
}

/* A browser comes back by itself to a connection that broke, but not to one that was refused
 * (a session that is over, too many pages): then we ask again, and a lost session ends the page. */
function listen() {
  if (state.source) state.source.close();
  const source = state.source = new EventSource("/api/v1/events");
  let waiting = null;
  source.addEventListener("change", () => {
    if (!waiting) waiting = setTimeout(() => { waiting = null; refresh(); }, 200);
  });
  source.addEventListener("error", () => {
    showLive(false);
    if (source.readyState === EventSource.CLOSED) setTimeout(async () => {
      if (state.source !== source || !state.session) return;
      try { await ask("/api/v1/session"); await refresh(); } catch (error) { /* told already */ }
      if (state.session) { showLive(false); listen(); }
    }, 5000);
  });
}

function showLogin() {
  if (state.source) state.source.close();
  state.session = null; state.rows = []; state.chosen = state.detail = state.similar = null;
  $("list").tBodies[0].replaceChildren(); $("detail").replaceChildren(); $("report").replaceChildren(); $("rules-answer").replaceChildren();
  $("app").hidden = true; $("login").hidden = false; $("token").focus();
}

async function start() {
  try {
    state.session = await ask("/api/v1/session");
  } catch (error) { return; }
  $("login").hidden = true; $("app").hidden = false;
  $("user").textContent = state.session.user + ", " + state.session.role;
  listen();
  await showTab("open");
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
}

function step(by) {
  const at = state.rows.findIndex((row) => row.study === state.chosen);
  const next = state.rows[at < 0 ? 0 : Math.min(state.rows.length - 1, Math.max(0, at + by))];
  if (next) choose(next.study).then(() => {
    const row = document.querySelector("tr.chosen");
    if (row) row.scrollIntoView({ block: "nearest" });
  });
}

const keys = {
  j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
  o: toggleOverlay, t: () => $("theme").click(), "?": () => $("keys").showModal(),
  r: () => $("mark-read") && $("mark-read").click(),
  a: () => document.querySelector(".agree") && document.querySelector(".agree").click(),
  d: () => document.querySelector(".disagree") && document.querySelector(".disagree").click(),
  1: () => showTab("open"), 2: () => showTab("read"), 3: () => showTab("report"),
  4: () => showTab("rules"),
};

document.addEventListener("keydown", (event) => {
  if (!state.session || event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT" || $("keys").open) return;
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await ask("/login", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: $("token").value }) });
    $("token").value = ""; $("login-error").textContent = "";
    await start();
  } catch (error) { $("login-error").textContent = error.message; }
});
$("logout").addEventListener("click", async () => { try { await change("/logout"); } finally { showLogin(); } });
$("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
$("help").addEventListener("click", () => $("keys").showModal());
$("keys-close").addEventListener("click", () => $("keys").close());
$("tab-open").addEventListener("click", () => showTab("open"));
$("tab-read").addEventListener("click", () => showTab("read"));
$("tab-report").addEventListener("click", () => showTab("report"));
$("tab-rules").addEventListener("click", () => showTab("rules"));
$("file").addEventListener("change", () => { if ($("file").files[0]) explain($("file").files[0]); });
$("rules-form").addEventListener("submit", (event) => event.preventDefault());
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) explain(event.dataTransfer.files[0]);
  });
}
setInterval(() => { if (state.session && isList()) showList(); }, 15000);
setTheme(localStorage.getItem("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
start();
