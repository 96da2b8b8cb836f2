// A modal dialog with a title and a button that closes it.
import { make, makeIconButton } from "./grid.js";

/** Open one; it is gone when it is closed. */
export function openDialog(title, name, ...children) {
  const close = makeIconButton("close", "Close", { class: "pl-close" });
  const dialog = make("dialog", { class: `pl-dialog ${name}`, "aria-label": title },
    make("h2", {}, title), close, ...children);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // not for what is behind it
  (document.querySelector(".stApp") ?? document.body).append(dialog); // which has the colors
  dialog.showModal();
  return dialog;
}
