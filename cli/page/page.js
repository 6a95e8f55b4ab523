// Asks for the page again, a second later, and puts what is different in its place. What is shown is
// made by the process, which answers later where nothing happens; here is only when it is asked.
"use strict";

const period = 1000; // ms, from one look to the next
const patience = 1500; // for an answer
const holds = 12000; // the process, where nothing happens: see page.go
const contact = document.getElementById("contact");
const hold = document.getElementById("hold");
let seen = Date.now();
let held = false;
let next = 0;
let asking = new AbortController();
let tag = ""; // of what is shown

async function look() {
  clearTimeout(next);
  asking.abort();
  if (held || document.hidden) return;
  const mine = asking = new AbortController();
  const began = Date.now();
  try {
    show(await ask(mine.signal));
    seen = Date.now();
    tell("");
  } catch (error) {
    if (mine.signal.aborted) return;
    tag = "";
    const ago = Math.round((Date.now() - seen) / 1000);
    tell(`✕ ${error.message}: what is shown is ${ago} s old`);
  }
  clearTimeout(next);
  const took = Date.now() - began;
  next = setTimeout(look, took < period ? period - took : period);
}

async function ask(signal) {
  // So no password is asked for, again and again.
  const headers = { "X-Requested-With": "page.js" };
  if (tag) headers["If-None-Match"] = tag;
  const limit = AbortSignal.timeout(tag ? holds + patience : patience);
  let answer;
  try {
    answer = await fetch(location.origin + "/", {
      cache: "no-store", signal: AbortSignal.any([signal, limit]), headers,
    });
    if (answer.ok) {
      const text = await answer.text();
      tag = answer.headers.get("ETag");
      return text;
    }
  } catch {
    throw new Error("the process does not answer");
  }
  throw new Error(answer.status === 401 ? "the token is another one, load the page again"
    : `the process answers ${answer.status}`);
}

function show(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (other && other.innerHTML !== part.innerHTML) part.replaceChildren(...other.childNodes);
  }
  document.title = fresh.title;
}

function tell(text) {
  if (contact.textContent !== text) contact.textContent = text;
  document.body.classList.toggle("old", text !== "");
  if (text !== "" && !document.title.startsWith("✕")) document.title = "✕ " + document.title;
}

hold.hidden = false;
hold.addEventListener("click", () => {
  held = !held;
  hold.setAttribute("aria-pressed", String(held));
  contact.textContent = held ? "held still" : "";
  look();
});
document.addEventListener("visibilitychange", look);
look();
