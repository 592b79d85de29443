// Photos on their way to the service, three at a time; they go on while the page shows other things.
import { tell, upload } from "./api.js";
import { aside, button, h, input, inRow, put, trouble } from "./dom.js";
import { W } from "./words.js";

const waiting = [], open = new Set(); // what is not sent yet; what is on its way, or has something to say
const names = new Map(); // ids that have come, by dataset
let under = 0;
const PICTURE = /\.(jpe?g|png|webp|heic|heif|avif|tiff?|bmp|gif|mpo)$/i;

/** Photos that a dataset has already. */
export const there = (dataset, ids) => names.set(dataset, new Set([...names.get(dataset) || [], ...ids]));

export const uploads = (dataset) => [...open].filter((one) => one.dataset === dataset);

/** Takes files for a dataset; a folder's other files are told, and left. */
export function take(dataset, files) {
	for (const file of files) {
		if (/^\.|^Thumbs\.db$/i.test(file.name)) continue;
		const one = { dataset, file, name: file.name, share: 0, row: h("div.upload") };
		if (!file.type.startsWith("image/") && !PICTURE.test(file.name)) {
			one.error = { problem: W.upload.noPhoto(file.name), way_out: W.upload.photosOnly };
		} else waiting.push(one);
		open.add(one);
		setTimeout(show, 0, one);
	}
	setTimeout(go);
}

/** What became of a photo, in its row; most have none. */
function show(one) {
	const over = () => { open.delete(one); one.row.remove(); };
	put(one.row, h("span.name", one.name), one.error ? trouble(one.error) : one.twin ? aside(W.dataset.twin) : h("progress", { max: 1, value: one.share, "aria-label": one.name }),
		(one.error || one.twin) && button(W.dismiss, over));
	if (one.photo && !one.twin) over();
	tell("upload", one);
}

function go() {
	while (under < 3 && waiting.length) send(waiting.shift());
}

async function send(one) {
	under += 1;
	try {
		one.photo = await upload(`datasets/${one.dataset}/photos`, one.file, (share) => { one.share = share; show(one); });
		one.twin = names.get(one.dataset)?.has(one.photo.id);
		there(one.dataset, [one.photo.id]);
	} catch (error) {
		one.error = error;
	}
	under -= 1;
	show(one);
	go();
}

addEventListener("beforeunload", (event) => { if (under) event.preventDefault(); });

/** Where photos are dropped, chosen, or taken with the camera. */
export function dropPlace(use, slim = false) {
	const pick = (text, look, props) => {
		const chooser = input("file", { hidden: true, multiple: true, onchange: () => { use([...chooser.files]); chooser.value = ""; }, ...props });
		return [button(text, () => chooser.click(), look), chooser];
	};
	const place = h(slim ? "div.drop.slim" : "div.drop", { ondragover: (event) => { event.preventDefault(); place.classList.add("over-it"); },
		ondragleave: () => place.classList.remove("over-it"),
		ondrop: async (event) => {
			event.preventDefault();
			place.classList.remove("over-it");
			use(await dropped(event.dataTransfer));
		} },
		h("p.drop-lead", h("span.wide-only", slim ? W.dataset.dropMore : W.dataset.drop), h("span.touch-only", slim ? W.dataset.takeMore : W.dataset.take)),
		inRow(pick(W.upload.files, slim ? "" : "main", { accept: "image/*,.heic,.heif" }),
			pick(W.upload.folder, "wide-only", { webkitdirectory: true }), pick(W.upload.camera, "touch-only", { accept: "image/*", capture: "environment" })));
	return place;
}

async function dropped(transfer) {
	const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
	if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
	const found = [];
	const walk = async (entry) => {
		if (entry.isFile) { found.push(await new Promise((done, fail) => entry.file(done, fail))); return; }
		const reader = entry.createReader();
		for (;;) {
			const some = await new Promise((done, fail) => reader.readEntries(done, fail));
			if (!some.length) return;
			for (const one of some) await walk(one);
		}
	};
	for (const entry of entries) await walk(entry);
	return found;
}
