// Asks for the page again, each second, and puts what is different in its place. What is shown is
// made by the process; here is only when.
"use strict";

const period = 1000; // ms, from one look to the next
const patience = 1500; // for an answer
const contact = document.getElementById("contact");
const hold = document.getElementById("hold");
let seen = Date.now();
let held = false;
let next = 0;

async function look() {
  clearTimeout(next);
  if (held || document.hidden) return;
  const began = Date.now();
  try {
    show(await ask());
    seen = Date.now();
    tell("");
  } catch (error) {
    const ago = Math.round((Date.now() - seen) / 1000);
    tell(`✕ ${error.message}: what is shown is ${ago} s old`);
  }
  clearTimeout(next);
  next = setTimeout(look, Math.max(0, began + period - Date.now()));
}

async function ask() {
  let answer;
  try {
    answer = await fetch(location.origin + "/", {
      cache: "no-store", signal: AbortSignal.timeout(patience),
      headers: { "X-Requested-With": "page.js" }, // so no password is asked for, again and again
    });
    if (answer.ok) return await answer.text();
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
