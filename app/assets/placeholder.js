// What a picture looks like before it has come: its signature, 16 x 16 cells. Its form is that of
// indexer/search/image_signature.py.

const SIDE = 16; // cells of luma
const CHROMA_SIDE = 8;
const HEAD = 3; // bytes: the darkest and the lightest luma, the strongest chroma
const NUM_BYTES = HEAD + SIDE ** 2 / 2 + CHROMA_SIDE ** 2;
const canvas = document.createElement("canvas");
canvas.width = canvas.height = SIDE;
const context = canvas.getContext("2d", { willReadFrequently: true });

/** The URL of an image of 16 x 16 pixels; null for what is no signature. */
export function makePlaceholder(signature) {
  const text = signature ? atob(signature) : "";
  if (text.length !== NUM_BYTES) return null;
  const [low, high, strongest, ...cells] = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const image = context.createImageData(SIDE, SIDE);
  for (let cell = 0; cell < SIDE ** 2; cell++) {
    const level = cell % 2 ? cells[cell >> 1] & 15 : cells[cell >> 1] >> 4;
    const luma = low + (level * (high - low)) / 15;
    const [x, y] = [(cell % SIDE) >> 1, Math.floor(cell / SIDE) >> 1];
    const both = cells[SIDE ** 2 / 2 + y * CHROMA_SIDE + x];
    const [cb, cr] = [both >> 4, both & 15].map((value) => {
      const root = value / 7 - 1;
      return strongest * root * Math.abs(root);
    });
    image.data.set([luma + 1.402 * cr, luma - 0.344 * cb - 0.714 * cr, luma + 1.772 * cb, 255], 4 * cell);
  }
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}
