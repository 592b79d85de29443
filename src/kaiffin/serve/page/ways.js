// On from a picture: twice as large, or painted over, in whole or where a brush was.
import { upload } from "./api.js";
import { aside, button, doer, field, fold, h, input, inRow } from "./dom.js";
import { W } from "./words.js";

const Y = W.gallery;

/** shown: the picture on the page; go: asks for pictures with these words, so many, that begin so. */
export function ways(image, shown, go, spot) {
	let mask = null;
	shown.parentNode.querySelector("canvas")?.remove(); // of the picture before
	const words = h("textarea", { rows: 2, value: image.prompt });
	const strength = input("range", { min: 0.1, max: 1, step: 0.1, value: 0.6 });
	const paint = button(Y.brush, () => { mask = brush(shown, image); paint.replaceWith(aside(Y.masked)); strength.value = 1; strength.focus({ preventScroll: true }); });
	const over = async () => {
		const start = { image: image.id, strength: Number(strength.value) };
		if (mask) start.mask = (await upload("uploads?kind=mask", await drawn(mask))).id;
		return go(words.value.trim(), 4, start);
	};
	return fold(Y.ways, field(Y, "words", words), field(Y, "strength", strength),
		inRow(doer(Y.over, spot, over), paint, doer(Y.larger, spot, () => go(image.prompt, 1, { image: image.id, strength: 0, upscale: 2 }))));
}

const drawn = (canvas) => new Promise((done) => canvas.toBlob((blob) => done(new File([blob], "mask.png"))));

/** A place to draw on, over the picture and of its pixels; what stays clear stays as it is. */
function brush(shown, { width, height }) {
	const canvas = h("canvas", { width, height, role: "img", "aria-label": Y.masked }), pen = canvas.getContext("2d");
	Object.assign(pen, { strokeStyle: "#fff", lineCap: "round", lineJoin: "round", lineWidth: Math.max(width, height) / 8 });
	const go = (event) => {
		const box = canvas.getBoundingClientRect();
		pen.lineTo((event.offsetX * width) / box.width, (event.offsetY * height) / box.height);
		pen.stroke();
	};
	canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); pen.beginPath(); go(event); go(event); });
	canvas.addEventListener("pointermove", (event) => event.buttons && go(event));
	const { offsetLeft: left, offsetTop: top, offsetWidth, offsetHeight } = shown;
	Object.assign(canvas.style, { left: `${left}px`, top: `${top}px`, width: `${offsetWidth}px`, height: `${offsetHeight}px` });
	shown.after(canvas);
	shown.scrollIntoView({ block: "nearest" });
	return canvas;
}
