// The part of a photo that is learnt from, drawn on it.
import { h } from "./dom.js";

/** The middle square: what is taken where nobody says otherwise. */
export function middle(photo) {
	const side = Math.min(photo.width, photo.height);
	return { left: Math.round((photo.width - side) / 2), top: Math.round((photo.height - side) / 2), width: side, height: side };
}

/** A frame over the picture it stands beside; `move` puts it elsewhere. */
export function frame(photo, crop, movable = false) {
	const made = h("span", { class: `crop${movable ? " movable" : ""}`, "aria-hidden": "true" });
	const share = (part, whole) => `${(100 * part) / whole}%`;
	made.move = ({ left, top, width, height }) => Object.assign(made.style, {
		left: share(left, photo.width), top: share(top, photo.height), width: share(width, photo.width), height: share(height, photo.height) });
	made.move(crop);
	return made;
}

/** Gives a place the photo's shape, as wide as there is room and no higher than `height`. */
export function shaped(place, photo, height) {
	const ratio = photo.width / photo.height;
	place.style.aspectRatio = String(ratio);
	place.style.width = `min(100%, calc(${height} * ${ratio.toFixed(4)}))`;
	return place;
}
