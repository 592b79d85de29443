// Photos on their way to the service, one by one, three at a time; they go on while the page shows other things.
import { tell, upload } from "./api.js";
import { button, h, inRow } from "./dom.js";
import { W } from "./words.js";

const waiting = [], open = new Set(); // what is not sent yet; what is on its way, or has something to say
const names = new Map(); // ids that have come, by dataset
let under = 0;
const PICTURE = /\.(jpe?g|png|webp|heic|heif|avif|tiff?|bmp|gif|mpo)$/i;

/** Photos that a dataset has already. */
export function there(dataset, ids) {
	const known = names.get(dataset) || new Set();
	names.set(dataset, known);
	for (const id of ids) known.add(id);
	return known;
}

export const uploads = (dataset) => [...open].filter((one) => one.dataset === dataset);
export const dismiss = (one) => { open.delete(one); one.row.remove(); };

/** Takes files for a dataset; a folder's other files are told, and left. */
export function take(dataset, files) {
	for (const file of files) {
		if (/^\.|^Thumbs\.db$/i.test(file.name)) continue;
		const one = { dataset, file, name: file.name, share: 0 };
		if (!file.type.startsWith("image/") && !PICTURE.test(file.name)) {
			one.error = { problem: W.upload.noPhoto(file.name), way_out: W.upload.photosOnly };
		} else waiting.push(one);
		open.add(one);
		setTimeout(() => tell("upload", one));
	}
	setTimeout(go);
}

function go() {
	while (under < 3 && waiting.length) send(waiting.shift());
}

async function send(one) {
	under += 1;
	const known = there(one.dataset, []);
	try {
		const photo = await upload(`datasets/${one.dataset}/photos`, one.file, (share) => { one.share = share; tell("upload", one); });
		one.twin = known.has(photo.id);
		known.add(photo.id);
		one.photo = photo;
		if (!one.twin) open.delete(one);
	} catch (error) {
		one.error = error;
	}
	under -= 1;
	tell("upload", one);
	go();
}

addEventListener("beforeunload", (event) => { if (under) event.preventDefault(); });

/** Where photos are dropped, chosen, or taken with the camera. */
export function dropPlace(use, lead, slim = false) {
	const pick = (props) => {
		const input = h("input", { type: "file", hidden: true, tabindex: -1, multiple: true, onchange: () => { use([...input.files]); input.value = ""; }, ...props });
		return input;
	};
	const files = pick({ accept: "image/*,.heic,.heif" }), folder = pick({ webkitdirectory: true });
	const camera = pick({ accept: "image/*", capture: "environment" });
	const place = h("div", { class: `drop${slim ? " slim" : ""}`, ondragover: (event) => { event.preventDefault(); place.classList.add("over-it"); },
		ondragleave: () => place.classList.remove("over-it"),
		ondrop: async (event) => {
			event.preventDefault();
			place.classList.remove("over-it");
			use(await dropped(event.dataTransfer));
		} },
		h("p", { class: "drop-lead" }, lead),
		inRow(button(W.upload.files, () => files.click(), { class: slim ? "" : "main" }),
			button(W.upload.folder, () => folder.click(), { class: "wide-only" }), button(W.upload.camera, () => camera.click(), { class: "touch-only" })),
		files, folder, camera);
	return place;
}

async function dropped(transfer) {
	const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
	if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
	const found = [];
	const walk = async (entry) => {
		if (entry.isFile) return found.push(await new Promise((done, fail) => entry.file(done, fail)));
		const reader = entry.createReader();
		for (;;) {
			const some = await new Promise((done, fail) => reader.readEntries(done, fail));
			if (!some.length) return null;
			for (const one of some) await walk(one);
		}
	};
	for (const entry of entries) await walk(entry);
	return found;
}
