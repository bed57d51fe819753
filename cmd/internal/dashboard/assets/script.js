// Every page works without this. It keeps what moves up to date, shows that
// something is under way, and makes choosing many rows and dropping files easier.
"use strict";
(() => {
  const $ = (selector) => document.querySelector(selector);
  const $$ = (selector) => [...document.querySelectorAll(selector)];

  // What moves has data-live and an id, and is replaced by what a fresh copy of the
  // page has in its place. What somebody is busy with is left alone.
  const seconds = Number(document.body.dataset.refresh || 0);
  const banner = $("#connection");
  let misses = 0;
  const trouble = (text) => {
    banner.hidden = !text;
    if (banner.textContent !== text) banner.textContent = text;
  };
  const busyWith = (element) => element.contains(document.activeElement) && document.activeElement !== document.body
    || element.querySelector("details[open]") !== null;
  async function look() {
    const answer = await fetch(document.body.dataset.from || location.href, { headers: { "Detachd-Refresh": "1" }, cache: "no-store" });
    if (answer.status === 401) {
      trouble("You are signed out. Load this page again to sign in.");
      return 0;
    }
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of $$("[data-live]")) {
      const now = fresh.getElementById(old.id);
      if (now && !busyWith(old) && now.outerHTML !== old.outerHTML) old.replaceWith(now);
    }
    trouble("");
    misses = 0;
    return Number(fresh.body.dataset.refresh || 0);
  }
  function later(after) {
    if (!after) return;
    setTimeout(async () => {
      if (document.hidden) return later(after);
      let next = after;
      try {
        next = await look();
      } catch {
        misses++;
        if (misses > 1) trouble("The server does not answer, so this is how it was at " + $("#as-of").textContent + ". Trying again.");
      }
      later(misses ? Math.min(30, after * (1 + misses)) : next);
    }, after * 1000);
  }
  later(seconds);

  // Times are shown in a zone that a cookie names. Where nobody has chosen one it is
  // the browser's; the sign-in page shows no times, and need not be loaded again.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (document.body.hasAttribute("data-zone-unset") && zone) {
    document.cookie = "__Host-detachd-zone=" + zone + "; path=/; secure; samesite=lax; max-age=31536000";
    if (document.cookie.includes("__Host-detachd-zone=" + zone) && zone !== "UTC" && $("header.top")) location.reload();
  }
  const zones = $("#zones");
  if (zones && Intl.supportedValuesOf) {
    for (const name of [zone, ...Intl.supportedValuesOf("timeZone")]) zones.append(new Option(name, name));
  }

  // Something is under way. Coming back to the page ends it.
  const busy = (is) => document.body.classList.toggle("busy", is);
  addEventListener("pageshow", () => {
    busy(false);
    for (const button of $$("button[data-sent]")) {
      button.disabled = false;
      button.textContent = button.dataset.sent;
      delete button.dataset.sent;
    }
  });
  addEventListener("submit", (event) => {
    busy(true);
    const button = event.submitter;
    if (!button || event.target.method !== "post") return;
    // Only after the form's data were taken: a disabled button's name is not sent.
    setTimeout(() => {
      button.dataset.sent = button.textContent;
      if (button.dataset.busy) button.textContent = button.dataset.busy;
      button.disabled = true;
    });
  });
  addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='/']");
    if (link && !link.hasAttribute("download") && !event.defaultPrevented && event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey) busy(true);
  });

  // Choosing rows.
  const picks = () => $$("input[name=pick]");
  const all = $("#pick-page");
  const count = () => {
    const chosen = picks().filter((box) => box.checked).length;
    const says = $("#picked");
    if (says) says.textContent = chosen === 0 ? "none chosen" : chosen + " chosen";
    for (const button of $$("button[data-picks]")) button.disabled = chosen === 0;
    if (all) {
      all.checked = chosen > 0 && chosen === picks().length;
      all.indeterminate = chosen > 0 && chosen < picks().length;
    }
  };
  if (all) {
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const box of picks()) box.checked = all.checked;
      count();
    });
    addEventListener("change", count);
    count();
  }

  // A page that shows a new key came of sending a form. Loading it again is to look at
  // the keys, not to make another.
  if ($("#new-key")) history.replaceState(null, "", location.href);

  // A list that is dropped is put where lists are chosen.
  const drop = $(".drop");
  if (drop) {
    const file = drop.querySelector("input[type=file]");
    const over = (is) => (event) => {
      event.preventDefault();
      drop.classList.toggle("over", is);
    };
    drop.addEventListener("dragover", over(true));
    drop.addEventListener("dragleave", over(false));
    drop.addEventListener("drop", (event) => {
      over(false)(event);
      if (event.dataTransfer.files.length > 0) file.files = event.dataTransfer.files;
    });
  }

  // "/" goes to the search, as in many places.
  addEventListener("keydown", (event) => {
    const writing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !writing && !event.ctrlKey && !event.metaKey && $("#search")) {
      event.preventDefault();
      $("#search").focus();
    }
  });
})();
