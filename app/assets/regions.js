// Where a picture shows the words of the query: the rest of it is darkened.
import { make } from "./grid.js";
import { warn } from "./toast.js";

const HEIGHT = 240; // pixels of the mask
const DARKEST = 0.15; // opacity of what does not fit

/** A button that darkens what does not fit in the picture on `stage`, and back. `find()` asks for the regions. */
export function makeLocator(stage, find) {
  const button = make("button", { type: "button", class: "pl-action" }, "Show where");
  const show = (isShown) => {
    button.setAttribute("aria-pressed", String(isShown));
    stage.classList.toggle("pl-located", isShown);
  };
  show(false);
  button.addEventListener("click", async () => {
    if (stage.classList.contains("pl-located")) return show(false);
    button.disabled = true;
    try {
      const { regions } = await find();
      if (!button.isConnected) return; // another picture is there by now
      const picture = stage.querySelector("img");
      const mask = drawMask(regions, picture.naturalWidth / picture.naturalHeight);
      stage.style.setProperty("--pl-mask", `url(${mask})`);
      show(true);
    } catch (error) {
      warn(error.message);
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

/** The URL of an image of that aspect ratio, which is opaque where the picture fits. */
function drawMask(regions, ratio) {
  const cells = document.createElement("canvas");
  [cells.width, cells.height] = [regions[0].length, regions.length];
  const pixels = cells.getContext("2d");
  regions.forEach((row, y) => row.forEach((value, x) => {
    pixels.fillStyle = `rgb(0 0 0 / ${DARKEST + (1 - DARKEST) * value})`;
    pixels.fillRect(x, y, 1, 1);
  }));
  const mask = document.createElement("canvas");
  [mask.width, mask.height] = [Math.max(1, Math.round(HEIGHT * ratio)), HEIGHT];
  const context = mask.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(cells, 0, 0, mask.width, mask.height);
  return mask.toDataURL();
}
