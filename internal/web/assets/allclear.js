// The page works without this. It patches text in place, by id, from the stream
// of the agent: nothing is inserted, moved or sorted while somebody reads.
// Whatever comes from the stream is set as text, never read as HTML.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const utc = () => new Date().toISOString().slice(11, 19);
  const quiet = 45000; // ms; the agent says something every 15 s
  let seq = document.body.dataset.seq, source, cut = false, known = utc(), alarm;
  const waiting = { raise: 0, clear: 0, since: utc() };

  function shape(el, state) {
    el.dataset.s = state;
    const use = el.querySelector("use");
    if (use) use.setAttribute("href", "#i-" + state);
  }

  function put(id, text, state) {
    const el = $(id);
    if (!el) return;
    if (state) shape(el, state);
    const at = el.querySelector(":scope > span") || el;
    if (at.textContent !== text) at.textContent = text;
    const row = state && el.closest("[data-fault]");
    if (row) {
      row.classList.toggle("gone", state === "ok" || state === "na");
      shape(row.querySelector("svg"), state);
    }
  }

  function tab(text, worst) {
    const title = text + " - " + document.body.dataset.title;
    if (document.title !== title) document.title = title;
    const icon = "/assets/" + (worst ? "icon-fault.svg" : "icon.svg");
    if ($("tabicon").getAttribute("href") !== icon) $("tabicon").setAttribute("href", icon);
  }

  function navigation(n, worst) {
    const el = $("nav-faults");
    if (n === "0") return el.replaceChildren();
    el.dataset.s = worst;
    if (el.querySelector("use")) {
      el.querySelector("use").setAttribute("href", "#i-" + worst);
      el.querySelector("span").textContent = n;
      el.querySelector(".sr").textContent = " active, worst " + worst;
    } else el.textContent = n + " " + worst;
  }

  function patch(list) {
    for (const p of list || []) {
      if (p.i === "nav") navigation(p.t, p.s);
      else if (p.i === "tab") tab(p.t, p.s);
      else put(p.i, p.t, p.s);
    }
  }

  // tell says in the reserved line what is waiting; a link shows it.
  function tell(words) {
    const box = $("news");
    if (!box) return;
    const span = document.createElement("span"), link = document.createElement("a");
    span.textContent = words;
    link.textContent = "Show";
    link.href = box.dataset.reload;
    link.className = "btn quiet";
    box.replaceChildren(span, link);
  }

  function happened(n) {
    const box = $("news"), only = box && box.dataset.only;
    if (only) {
      if (only !== String(n.id)) return;
      put("f-" + n.id + "-s", n.w || $("f-" + n.id + "-s").textContent, n.s);
      return tell("At " + n.at + ": " + (n.w || n.kind) + ". The rest of this page is from before.");
    }
    if (n.kind !== "raise" && n.kind !== "clear" && n.kind !== "adopt") return;
    if ($("f-" + n.id + "-s")) put("f-" + n.id + "-s", n.w, n.s);
    waiting[n.kind === "clear" ? "clear" : "raise"]++;
    const words = [[waiting.raise, "new fault"], [waiting.clear, "clear"]].filter(([c]) => c)
      .map(([c, w]) => c + " " + w + (c === 1 ? "" : "s")).join(" and ");
    tell(words + " since " + waiting.since + ". Rows stay where they are until you ask.");
  }

  // mark shows whether the stream lives; a cut keeps what is shown, and dates it.
  function mark(state, word) {
    cut = state !== "ok";
    shape($("live-s"), state);
    $("live-s").querySelector("use").setAttribute("href", cut ? "#i-stale" : "#i-live");
    $("live-w").textContent = word;
    $("cutoff").hidden = !cut;
    $("cutoff-t").textContent = known;
    for (const b of document.querySelectorAll("main form[method=post] button, [popover] form[method=post] button")) {
      if (cut) b.setAttribute("aria-disabled", "true");
      else b.removeAttribute("aria-disabled");
    }
  }

  function heard(e) {
    if (e.lastEventId) seq = e.lastEventId;
    known = utc();
    $("live-t").textContent = known;
    if (cut || $("live-w").textContent !== "Live") mark("ok", "Live");
    clearTimeout(alarm);
    alarm = setTimeout(() => { close(); mark("stale", "Reconnecting"); open(); }, quiet);
  }

  function open() {
    source = new EventSource("/events?after=" + encodeURIComponent(seq));
    source.addEventListener("state", (e) => { heard(e); patch(JSON.parse(e.data)); });
    source.addEventListener("fault", (e) => { heard(e); happened(JSON.parse(e.data)); });
    source.addEventListener("lost", (e) => { heard(e); tell("More has happened than this page can catch up on."); });
    source.addEventListener("beat", heard);
    source.onerror = () => mark("stale", source.readyState === EventSource.CLOSED ? "Not live" : "Reconnecting");
  }

  function close() {
    clearTimeout(alarm);
    if (source) source.close();
  }

  // A browser opens few connections to one host: pages that nobody sees give theirs back.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);

  document.addEventListener("submit", async (e) => {
    const form = e.target;
    if (cut && form.method === "post") return e.preventDefault();
    const box = $(form.dataset.live);
    if (!box) return;
    e.preventDefault();
    if (box.getAttribute("aria-busy") === "true") return;
    box.setAttribute("aria-busy", "true");
    box.className = "idle";
    box.textContent = "Looking since " + utc();
    try {
      const answer = await fetch(form.action, { method: "POST", headers: { "X-Fragment": "1" }, body: new URLSearchParams(new FormData(form)) });
      const part = new DOMParser().parseFromString(await answer.text(), "text/html");
      box.className = "result";
      box.replaceChildren(...part.body.childNodes);
    } catch {
      box.textContent = "No answer came. Whether it looked is not known.";
    }
    box.removeAttribute("aria-busy");
  });

  if (!document.hidden) open();
})();
