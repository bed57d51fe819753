// Every page works without this script. It keeps pages up to date, shows that a request
// is in progress, copies ids, and makes selecting many rows, working by keyboard and
// dropping files easier.
"use strict";
(() => {
  document.documentElement.classList.add("js");
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
  const selected = (element) => {
    const selection = getSelection();
    return !selection.isCollapsed && selection.containsNode(element, true);
  };
  let sending = null; // the button of the form that is being sent
  // An open dialog has the focus of the row in use, and returns it when it closes.
  const inUse = (element) => $("dialog[open]") !== null || sending !== null
    || element.contains(document.activeElement) && document.activeElement !== document.body
    || element.querySelector("details[open], input[name=pick]:checked") !== null || selected(element);
  // A live element as the server last sent it: the page's own may have been changed by this script.
  const sent = new Map($$("[data-live]").map((element) => [element.id, element.outerHTML]));
  // Of a table in use only the rows that nobody uses are replaced, if it has the same columns and rows. Otherwise
  // nothing is replaced, and "Last updated" keeps the time of this table.
  const replaceRows = (old, now) => {
    const rows = (element) => [...element.querySelectorAll(".heads, tr[data-key]")];
    const names = (element) => rows(element).map((row) => row.dataset.key ?? row.textContent).join("\n");
    const after = rows(now);
    if (after.length === 0 || names(old) !== names(now)) return false;
    rows(old).forEach((row, i) => {
      if (row.dataset.key !== undefined && !inUse(row)) row.replaceWith(after[i]);
    });
    return true;
  };
  // A server answers within 30 seconds, if only with an error.
  const ask = (page) => fetch(page, { headers: { "Detachd-Refresh": "1" }, cache: "no-store", signal: AbortSignal.timeout(40000) });
  async function refresh() {
    const answer = await ask(document.body.dataset.from || location.href);
    if (answer.status === 401) {
      warn("You are signed out. Reload this page to sign in. To keep what you typed, sign in in another tab.");
      document.addEventListener("visibilitychange", () => schedule(seconds), { once: true }); // after a sign-in in another tab
      return 0;
    }
    if (answer.status === 403 || answer.status === 404) {
      warn("This is no longer stored, or your key cannot see it any more. Data as of " + $("#as-of").textContent + ".");
      return 0;
    }
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    // The first row in the window stays where it is, also if rows come above it.
    const first = scrollY > 0 && rows().find((row) => row.getBoundingClientRect().top >= 0);
    const top = first && first.getBoundingClientRect().top;
    let whole = true;
    for (const old of $$("[data-live]")) {
      const now = fresh.getElementById(old.id);
      if (!now || now.outerHTML === sent.get(old.id) || old.id === "as-of" && !whole) continue;
      if (inUse(old)) {
        whole = replaceRows(old, now) && whole;
        continue;
      }
      sent.set(old.id, now.outerHTML);
      old.replaceWith(now);
    }
    const same = first && rows().find((row) => row.dataset.key === first.dataset.key);
    if (same) scrollBy(0, same.getBoundingClientRect().top - top);
    document.title = fresh.title;
    count();
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
  const hold = (button) => {
    button.dataset.sent = button.textContent;
    if (button.dataset.busy) button.textContent = button.dataset.busy;
    button.disabled = true;
  };
  const release = () => {
    busy(false);
    for (const button of $$("button[data-sent]")) {
      button.disabled = false;
      button.textContent = button.dataset.sent;
      delete button.dataset.sent;
    }
  };
  addEventListener("pageshow", release);
  const obstacle = async () => {
    try {
      const answer = await ask("/search");
      if (answer.ok) return "";
      if (answer.status === 401) return "You are signed out, and nothing was done. Sign in in another tab, then do it again here.";
    } catch {
      // as below
    }
    return "The server does not respond, and nothing was done. Try again in a minute.";
  };
  // A form leaves the page only if it would arrive: otherwise what somebody typed would be lost.
  addEventListener("submit", async (event) => {
    const { target: form, submitter: button } = event;
    busy(true);
    if (!button || form.method !== "post") return;
    if (sending === button || !form.matches(".top ~ main form")) {
      setTimeout(() => hold(button)); // once the form's data are collected: a disabled button's name is not sent
      return;
    }
    event.preventDefault();
    if (sending) return;
    sending = button;
    hold(button);
    const why = await obstacle();
    release();
    if (why) {
      warn(why);
      if (document.activeElement === document.body) button.focus(); // which it lost while it was disabled
    } else {
      form.requestSubmit(button); // comes here again at once, unless a field has become invalid
    }
    sending = null;
  });
  addEventListener("click", async (event) => {
    const link = event.target.closest("a[href^='/']");
    if (!link || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (link.hasAttribute("download")) {
      event.preventDefault(); // or a page that asks to sign in would be the file
      const why = await obstacle();
      if (why) warn(why);
      else location.assign(link.href);
      return;
    }
    // A link to another window, or to another place of the page, loads nothing here.
    if (!link.target && !(link.hash && link.href.split("#")[0] === location.href.split("#")[0])) busy(true);
  });

  // Selecting rows.
  const picks = () => $$("input[name=pick]");
  const count = () => {
    const all = $("#pick-page");
    if (!all) return;
    all.hidden = false;
    const chosen = picks().filter((box) => box.checked).length;
    $("#picked").textContent = chosen === 0 ? "None selected" : chosen + " selected";
    for (const button of $$("button[data-picks]")) {
      button.disabled = chosen === 0;
      button.textContent = button.dataset.picks + (chosen === 0 ? " selected…" : ` selected (${chosen})…`);
    }
    all.checked = chosen > 0 && chosen === picks().length;
    all.indeterminate = chosen > 0 && chosen < picks().length;
  };
  addEventListener("change", (event) => {
    if (event.target.id === "pick-page") {
      for (const box of picks()) box.checked = event.target.checked;
    }
    count();
  });
  count();

  // Copying ids. Browsers allow it on secure pages only.
  const copy = async (button) => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), 1500);
    } catch {
      warn("The browser does not allow copying here. Select the text instead.");
    }
  };
  addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copy]");
    if (button) copy(button);
    if (event.target.id === "close") $("#keyboard").close();
  });

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

  // Keys, as in many applications; "?" lists them. The row in use is the one with the focus.
  const pages = { h: "/", o: "/operations", s: "/schedules", f: "/failures", b: "/redrives", p: "/projects", k: "/keys", a: "/audit", c: "/codes" };
  const rows = () => $$("main tr[data-key]");
  const row = () => document.activeElement.closest("tr[data-key]");
  const step = (by) => {
    const all = rows();
    const seen = all.findIndex((element) => element.getBoundingClientRect().top > 100);
    const next = all[row() ? Math.min(all.length - 1, Math.max(0, all.indexOf(row()) + by)) : Math.max(0, seen)];
    (next?.querySelector("th a") || next?.querySelector("a, input, summary"))?.focus();
  };
  const follow = (link) => link && link.click();
  const keys = {
    "/": () => $("#search")?.focus(),
    "?": () => $("#keyboard")?.showModal(),
    j: () => step(1),
    k: () => step(-1),
    x: () => row()?.querySelector("input[name=pick]")?.click(),
    c: () => row()?.querySelector("button[data-copy]")?.click(),
    n: () => follow($("a[rel=next]")),
    p: () => follow($("a[rel=prev]")),
  };
  let going = 0; // when g was pressed
  addEventListener("keydown", (event) => {
    const element = document.activeElement;
    const typing = /^(TEXTAREA|SELECT)$/.test(element.tagName) || element.tagName === "INPUT" && element.type !== "checkbox";
    if (typing || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
    const to = going && event.timeStamp - going < 1500 && pages[event.key];
    going = event.key === "g" ? event.timeStamp : 0;
    if (to) {
      event.preventDefault();
      follow($(`a[href="${to}"]`));
    } else if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });
})();
