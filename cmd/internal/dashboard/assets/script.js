// Every page works without this script. It keeps pages up to date, shows that a request
// is in progress, and makes selecting many rows and dropping files easier.
"use strict";
(() => {
  const $ = (selector) => document.querySelector(selector);
  const $$ = (selector) => [...document.querySelectorAll(selector)];

  // Elements with data-live and an id are replaced by those of a fresh copy of the page,
  // except the ones that somebody is using.
  const seconds = Number(document.body.dataset.refresh || 0);
  const banner = $("#connection");
  let misses = 0;
  const warn = (text) => {
    banner.hidden = !text;
    if (banner.textContent !== text) banner.textContent = text;
  };
  const inUse = (element) => element.contains(document.activeElement) && document.activeElement !== document.body
    || element.querySelector("details[open]") !== null;
  async function refresh() {
    const answer = await fetch(document.body.dataset.from || location.href, { headers: { "Detachd-Refresh": "1" }, cache: "no-store" });
    if (answer.status === 401) {
      warn("You are signed out. Reload this page to sign in.");
      return 0;
    }
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of $$("[data-live]")) {
      const now = fresh.getElementById(old.id);
      if (now && !inUse(old) && now.outerHTML !== old.outerHTML) old.replaceWith(now);
    }
    warn("");
    misses = 0;
    return Number(fresh.body.dataset.refresh || 0);
  }
  function schedule(after) {
    if (!after) return;
    setTimeout(async () => {
      if (document.hidden) return schedule(after);
      let next = after;
      try {
        next = await refresh();
      } catch {
        misses++;
        if (misses > 1) warn("The server does not respond. Data as of " + $("#as-of").textContent + "; retrying.");
      }
      schedule(misses ? Math.min(30, after * (1 + misses)) : next);
    }, after * 1000);
  }
  schedule(seconds);

  // A cookie names the zone of the times. Without one it becomes the browser's zone, and
  // the page is loaded again; the sign-in page shows no times and is not.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (document.body.hasAttribute("data-zone-unset") && zone) {
    document.cookie = "__Host-detachd-zone=" + zone + "; path=/; secure; samesite=lax; max-age=31536000";
    if (document.cookie.includes("__Host-detachd-zone=" + zone) && zone !== "UTC" && $("header.top")) location.reload();
  }
  const zones = $("#zones");
  if (zones && Intl.supportedValuesOf) {
    for (const name of [zone, ...Intl.supportedValuesOf("timeZone")]) zones.append(new Option(name, name));
  }

  // Show that a request is in progress, until the visitor comes back to the page.
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
    // Wait until the form's data are collected: a disabled button's name is not sent.
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

  // Selecting rows.
  const picks = () => $$("input[name=pick]");
  const all = $("#pick-page");
  const count = () => {
    const selected = picks().filter((box) => box.checked).length;
    const status = $("#picked");
    if (status) status.textContent = selected === 0 ? "None selected" : selected + " selected";
    for (const button of $$("button[data-picks]")) {
      button.disabled = selected === 0;
      button.textContent = button.dataset.picks + (selected === 0 ? "…" : ` (${selected})…`);
    }
    if (all) {
      all.checked = selected > 0 && selected === picks().length;
      all.indeterminate = selected > 0 && selected < picks().length;
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

  // The page with a new key is the answer to a form. Reloading it must show the keys, not
  // create another one.
  if ($("#new-key")) history.replaceState(null, "", location.href);

  // A dropped file goes into the file field.
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

  // "/" moves to the search field, as in many applications.
  addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && $("#search")) {
      event.preventDefault();
      $("#search").focus();
    }
  });
})();
