// Generate: what is wanted, the pictures as they come, and all that were made.
import { Problem, ended, every, get, isLive, jobs, on, post, submit, upload } from "./api.js";
import { busy, button, dialog, field, fold, h, h2, inRow, link, note, option, pair, soft } from "./dom.js";
import { gallery, open, small } from "./gallery.js";
import { follow, standing } from "./jobs.js";
import { W } from "./words.js";

const G = W.generate;
const DRAFT = "kaiffin-prompt";

export async function view(root, id, query, signal) {
	const [runs, bases, schema] = await Promise.all([every("runs"), get("bases", signal), get("schema", signal)]);
	const job = id ? jobs.get(id) || (await get(`jobs/${id}`, signal)) : null;
	const ready = runs.filter((one) => one.state === "done");
	const form = asking(ready, bases, schema.kinds.Generate || schema.kinds.generate, query, signal, job);
	const result = h("section", { class: "result", "aria-live": "polite" });
	const made = h("section", {});
	root.append(h("div", { class: "two" }, h("div", { class: "ask" }, h("h1", {}, G.title), form.element), h("div", { class: "got" }, result, made)));
	if (job) (job.kind === "grid" ? showGrid : showJob)(job, result, form, signal, query.get("beside"));
	else if (!ready.length) result.append(h("p", { class: "todo" }, G.noRuns, " ", link(G.toTune, "#/tune")));
	gallery(made, signal, actions(form));
}

/** What can be done with a picture that is there: fills the form, or asks for others like it. */
function actions(form) {
	const asked = async (image) => {
		const { request, kind } = await get(`jobs/${image.job}`);
		if (kind !== "generate") throw new Problem(G.noRequest);
		return { ...request, prompts: [image.prompt], seed: image.seed, count: 1, best: null };
	};
	const go = async (request, more = "") => { location.hash = `#/generate/${(await submit("generate", clean(request))).id}${more}`; };
	return {
		use: async (image) => { form.fill(await asked(image)); form.focus(); note(G.filled); },
		again: async (image) => { const request = await asked(image); await go({ ...request, seed: Math.floor(Math.random() * 1e9), count: 4 }); },
		vary: async (image) => go({ ...(await asked(image)), seed: image.seed + 1, count: 4 }, `?beside=${image.id}`),
		compare: async (image) => {
			const request = await asked(image);
			const base = request.base || (await get(`runs/${request.run}`)).base;
			const job = await submit("generate", clean({ ...request, run: null, base, checkpoint: null, strength: 1, adapters: [], embeddings: [] }));
			return { job, base };
		},
	};
}

const clean = (request) => Object.fromEntries(Object.entries(request).filter(([, value]) => value !== null && value !== undefined));

/** The stages of a training that pictures can be made with. */
export const stages = (run) => [option("", G.last), run.files.includes("best.safetensors") ? option("best", G.best) : "", ...run.candidates.map((step) => option(String(step), W.run.step(step)))];

// --- the form --------------------------------

function asking(runs, bases, schema, query, signal, job) {
	const spot = h("div");
	const sample = schema.$defs.Sampling.properties;
	const source = h("select", { onchange: () => sourced() },
		runs.length ? h("optgroup", { label: G.yours }, runs.map((one) => option(`run:${one.id}`, one.name || `${one.subject} ${one.noun}`))) : "",
		h("optgroup", { label: G.plainBases }, bases.map((one) => option(`base:${one.name}`, W.bases[one.name] || one.name))));
	const checkpoint = h("select", {});
	const prompt = h("textarea", { rows: 3, required: true, oninput: () => { drafted(); counted(); } });
	const chips = h("div", { class: "chips" });
	const pieces = h("p", { class: "soft hint" });
	const number = (value, low, high, step = 1) => h("input", { type: "number", value, min: low, max: high, step, required: true });
	const count = number(4, 1, 64), best = h("input", { type: "number", min: 1, max: 64, placeholder: G.all });
	const seed = h("input", { type: "number", min: 0, max: 2 ** 32 - 65, placeholder: G.chance });
	const steps = number(sample.steps.default, 1, 150), guidance = number(sample.guidance.default, 0, 100, 0.5);
	const sampler = h("select", {}, sample.sampler.enum.map((one) => option(one, one, sample.sampler.default)));
	const negative = h("input", { maxlength: 2000 });
	const width = h("input", { type: "number", min: 8, max: 2048, step: 8, placeholder: G.own, "aria-label": G.width });
	const height = h("input", { type: "number", min: 8, max: 2048, step: 8, placeholder: G.own, "aria-label": G.height });
	const strength = h("input", { type: "range", min: 0, max: 1.5, step: 0.05, value: 1, oninput: () => { strong.textContent = Number(strength.value).toFixed(2); } });
	const strong = h("output", {}, "1.00");
	const strengthField = field([G.strength, " ", strong], strength, G.strengthHint);
	const checkpointField = field(G.checkpoint, checkpoint);
	let who = "", read_by = "", had = null; // the subject's words; the checkpoint that is to be taken once they are known

	async function sourced() {
		const [kind, id] = source.value.split(":");
		strengthField.hidden = checkpointField.hidden = kind !== "run";
		if (kind !== "run") { who = ""; read_by = id; counted(); return helped(); }
		const run = await get(`runs/${id}`, signal);
		who = [run.subject, run.noun].filter(Boolean).join(" ");
		checkpoint.replaceChildren(...stages(run));
		checkpoint.value = had ?? (run.files.includes("best.safetensors") ? "best" : "");
		if (checkpoint.selectedIndex < 0) checkpoint.value = "";
		had = null;
		read_by = run.base;
		if (!prompt.value.trim()) prompt.value = G.firstPrompt(who);
		counted();
		return helped();
	}

	function helped() {
		const chip = (text, name) => button(name || text, () => { put(text); }, { class: "chip", "aria-label": G.add(text) });
		chips.replaceChildren(who ? chip(who) : "", ...G.scenes.map((text) => chip(text)));
	}

	function put(text) {
		const at = prompt.selectionStart ?? prompt.value.length, before = prompt.value.slice(0, at);
		prompt.setRangeText(`${before && !/\s$/.test(before) ? " " : ""}${text}`, at, prompt.selectionEnd ?? at, "end");
		prompt.focus();
		drafted();
		counted();
	}
	const drafted = () => { try { localStorage.setItem(DRAFT, prompt.value); } catch { /* a browser that keeps nothing */ } };
	const lines = () => prompt.value.split("\n").map((line) => line.trim()).filter(Boolean);
	let counting = null;
	function counted() {
		clearTimeout(counting);
		counting = setTimeout(() => busy(null, spot, async () => { pieces.textContent = (await post("pieces", { base: read_by, texts: lines() }, { signal })).said; }), 300);
	}

	function request() {
		const [kind, id] = source.value.split(":");
		const size = width.value && height.value ? { size: [Number(width.value), Number(height.value)] } : {};
		return clean({
			[kind]: id, prompts: lines(), count: Number(count.value),
			seed: seed.value === "" ? Math.floor(Math.random() * 1e9) : Number(seed.value), best: best.value ? Number(best.value) : null,
			checkpoint: kind === "run" && checkpoint.value ? (checkpoint.value === "best" ? "best" : Number(checkpoint.value)) : null,
			strength: kind === "run" ? Number(strength.value) : null, preview_every: best.value ? 0 : 5,
			sample: { steps: Number(steps.value), guidance: Number(guidance.value), sampler: sampler.value, negative: negative.value, ...size },
		});
	}

	function fill(given) {
		if (given.run || given.base) {
			const value = given.run ? `run:${given.run}` : `base:${given.base}`;
			if ([...source.querySelectorAll("option")].some((one) => one.value === value)) source.value = value;
		}
		had = given.checkpoint ?? null;
		prompt.value = (given.prompts || []).join("\n");
		if (given.count) count.value = given.count;
		best.value = given.best ?? "";
		if (given.seed !== undefined) seed.value = given.seed;
		const own = given.sample || {};
		for (const [control, value] of [[steps, own.steps], [guidance, own.guidance], [sampler, own.sampler], [negative, own.negative]]) if (value !== undefined) control.value = value;
		[width.value, height.value] = own.size || ["", ""];
		strength.value = given.strength ?? 1;
		strong.textContent = Number(strength.value).toFixed(2);
		counted();
		drafted();
		return sourced();
	}

	const element = h("form", { class: "form", onsubmit: (event) => {
		event.preventDefault();
		busy(go, spot, async () => { location.hash = `#/generate/${(await submit("generate", request())).id}`; });
	} },
		pair(field(G.with, source), checkpointField),
		field(G.prompt, prompt, G.promptHint), chips, pieces,
		pair(field(G.count, count), field(G.keep, best, G.keepHint)),
		strengthField);
	const go = h("button", { class: "main" }, G.go);
	const dropped = h("input", { type: "file", accept: "image/png", hidden: true, tabindex: -1, onchange: () => read(dropped.files[0]) });
	element.append(
		fold([G.more],
			field(G.negative, negative, G.negativeHint),
			pair(field(G.steps, steps, G.stepsHint), field(G.guidance, guidance, G.guidanceHint)),
			pair(field(G.sampler, sampler), field(G.seed, seed, G.seedHint)),
			h("fieldset", { class: "field" }, h("legend", {}, G.size), pair(width, height)),
			inRow(button(G.fromPicture, () => dropped.click()), dropped), h("p", { class: "soft hint" }, G.fromPictureHint)),
		h("div", { class: "row go" }, go, button(G.gridButton, () => gridAsk(request, spot))), spot);
	element.addEventListener("dragover", (event) => event.preventDefault());
	element.addEventListener("drop", (event) => { event.preventDefault(); read(event.dataTransfer.files[0]); });

	const read = (file) => file && busy(null, spot, async () => {
		await fill({ count: 1, ...(await upload("recipes", file, () => {})) });
		note(G.filled);
	});

	if (job?.kind === "generate") fill(job.request);
	else {
		let draft = "";
		try { draft = localStorage.getItem(DRAFT) || ""; } catch { /* nothing is kept */ }
		prompt.value = draft;
		if (query.get("run")) { source.value = `run:${query.get("run")}`; prompt.value = ""; }
		if (query.get("base")) source.value = `base:${query.get("base")}`;
		had = query.get("checkpoint");
		counted();
		sourced();
	}
	return { element, fill, request, focus: () => { element.scrollIntoView({ block: "start" }); prompt.focus(); } };
}

// --- a grid ----------------------------------

function gridAsk(request, place) {
	const spot = h("div"), names = Object.keys(G.axes);
	const axis = (chosen) => {
		const name = h("select", { onchange: () => { values.value = G.axes[name.value]?.[1] || ""; } }, names.map((one) => option(one, G.axes[one][0], chosen)));
		const values = h("input", { value: G.axes[chosen][1], required: true });
		return { name, values };
	};
	const x = axis("guidance"), y = axis("steps");
	const form = h("form", { onsubmit: (event) => {
		event.preventDefault();
		busy(go, spot, async () => {
			const asked = request();
			const part = ({ name, values }) => ({ name: name.value, values: values.value.split(/[,|]/).map((one) => one.trim()).filter(Boolean) });
			const keep = ["run", "base", "sample", "seed"].filter((name) => asked[name] !== undefined);
			const job = await submit("grid", { ...Object.fromEntries(keep.map((name) => [name, asked[name]])), prompt: asked.prompts[0], count: 1, x: part(x), ...(y.name.value === x.name.value ? {} : { y: part(y) }) });
			box.close();
			location.hash = `#/generate/${job.id}`;
		});
	} }, soft(G.gridLead),
		pair(field(G.across, x.name), field(G.values, x.values)),
		pair(field(G.down, y.name), field(G.values, y.values)), spot);
	const go = h("button", { class: "main" }, G.gridGo);
	form.append(inRow(go));
	place.replaceChildren();
	const box = dialog(G.gridTitle, form);
}

function showGrid(job, place, form, signal) {
	follow(job.id, signal, draw);
	jobs.has(job.id) || draw(job);
	function draw(now) {
		if (now.state !== "done") {
			place.replaceChildren(standing(now, G.gridMaking));
			return;
		}
		const sheets = now.result.files.filter((name) => name.endsWith(".png"));
		place.replaceChildren(h2(G.gridTitle), ...sheets.map((name) => h("a", { href: `api/v1/jobs/${now.id}/files/${name}`, download: true },
			h("img", { class: "whole-sheet", src: `api/v1/jobs/${now.id}/files/${name}`, alt: G.gridAlt(Object.values(now.result.axes).join("; ")) }))), soft(G.gridNote));
	}
}

// --- pictures as they come -------------------

async function showJob(job, place, form, signal, beside) {
	const total = job.request.prompts.length * job.request.count, acting = actions(form);
	const here = new Map(), partial = new Map();
	const first = [];
	let images = [], loaded = false;
	const tiles = h("div", { class: "photos results" }), status = h("div");
	place.replaceChildren(h2(G.result), h("p", { class: "soft prompt-said" }, job.request.prompts.join(" · ")), status, tiles);

	function draw() {
		const now = jobs.get(job.id) || job;
		const scores = new Map((now.result?.rankings || []).flat().map((one) => [one.image, one]));
		const order = scores.size ? [...images].sort((a, b) => rank(scores, a) - rank(scores, b)) : [...images].sort((a, b) => a.seed - b.seed);
		const waiting = isLive(now) || !loaded ? total - images.length : 0;
		const shown = [...first, ...order];
		tiles.replaceChildren(...shown.map((image, i) => tile(image, shown, i, scores.get(image.id), acting, first[0] === image)),
			...Array.from({ length: Math.max(0, waiting) }, (_, i) => {
				const seen = [...partial.values()][i];
				return h("div", { class: "gone making" }, seen ? h("img", { src: `api/v1/jobs/${job.id}/partial/${seen.number}?${seen.step}`, alt: G.partial }) : h("span", {}, G.waiting));
			}));
		status.replaceChildren(now.state === "done" ? "" : standing(now), beside ? soft(G.varied) : "", scores.size ? soft(G.scored) : "");
	}
	const rank = (scores, image) => [...scores.keys()].indexOf(image.id) + (scores.get(image.id)?.chosen ? 0 : 1000);

	// Answers may overtake each other: none makes pictures fewer.
	async function load() {
		const { items } = await get(`images?job=${job.id}&limit=200`, signal);
		if (items.length >= images.length) images = items;
	}

	on("partial", (one) => { if (one.job === job.id && !here.has(one.number)) { partial.set(one.number, one); draw(); } }, signal);
	on("picture", async (one) => {
		if (one.job !== job.id) return;
		here.set(one.number, true);
		partial.delete(one.number);
		await load();
		draw();
	}, signal);
	follow(job.id, signal, draw);
	draw(); // places for the pictures, so that nothing jumps when they come
	if (beside) first.push(await get(`images/${beside}`, signal));
	await load();
	loaded = true;
	draw();
	if (innerWidth < 820) place.scrollIntoView();
	if (isLive(job)) {
		await ended(job.id, signal);
		await load();
		jobs.has(job.id) && draw();
	}
}

function tile(image, all, i, score, acting, isFirst) {
	return h("button", { type: "button", class: `pic${score && !score.chosen ? " lesser" : ""}`, onclick: () => open(all, i, acting) },
		small(image), isFirst ? h("span", { class: "badge" }, G.original) : "",
		score ? h("span", { class: "badge" }, score.chosen ? G.chosen(score.prompt, score.likeness) : G.score(score.prompt, score.likeness)) : "");
}
