// What the app says for some seconds, at the bottom of the screen.
import { make } from "./grid.js";

const SECONDS = 5;
const SECONDS_TO_UNDO = 12;

/** Say that something was done; `undo` takes it back. */
export function say(text, undo = null) {
  show(text, "status", undo);
}

/** Say that something failed. */
export function warn(text) {
  show(text, "alert");
}

/** One at a time, over whatever is open: a modal dialog hides what is outside of it. */
function show(text, role, undo = null) {
  for (const old of document.querySelectorAll(".pl-toast")) old.remove();
  const toast = make("div", { class: "pl-toast", role }, make("span", { dir: "auto" }, text));
  if (undo) {
    const button = make("button", { type: "button" }, "Undo");
    button.addEventListener("click", () => {
      toast.remove();
      undo();
    });
    toast.append(button);
  }
  ([...document.querySelectorAll("dialog[open]")].pop() ?? document.body).append(toast);
  setTimeout(() => toast.remove(), 1000 * (undo ? SECONDS_TO_UNDO : SECONDS));
}
