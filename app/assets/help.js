// How a query is written: a dialog, whose examples can be tried. The grammar is that of the command
// line; see "How a query is written" in docs/cli.md.
import { openDialog } from "./dialog.js";
import { make } from "./grid.js";

export const EXAMPLES = ["a dog on the beach", "sunset -people", "夜の街", "snow red^2 car"];

const RULES = [
  ["a blue bicycle", "What it shows, in your own words and in any language"],
  ["beach -people", "A minus: without this"],
  ["forest sunset^2", "A weight from 0.01 to 100: this counts more, or less"],
  ['"red car" snow -"old people"', "Quotation marks hold words together"],
  ["\\-people", "A backslash makes a sign text"],
];
const WAYS = [
  ["+", "adds words or a picture to the search that you see"],
  ["Enter", "replaces it"],
  ["/", "leads to the box"],
  ["Drop, paste", "a picture anywhere on the page: similar ones are found"],
];

/** Show the help; `run(words)` searches for an example. */
export function showHelp(run) {
  const rules = RULES.map(([words, meaning]) => {
    const button = make("button", { type: "button" }, make("code", { dir: "auto" }, words));
    button.addEventListener("click", () => {
      dialog.close();
      run(words);
    });
    return make("div", {}, make("dt", {}, button), make("dd", {}, meaning));
  });
  const ways = WAYS.map(([key, meaning]) => make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, meaning)));
  const dialog = openDialog("How to write a search", "pl-help",
    make("dl", {}, ...rules), make("h3", {}, "In the box"), make("dl", {}, ...ways));
}
