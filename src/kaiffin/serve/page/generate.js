// Generate: what is wanted, the pictures as they come, and all that were made.
import { Problem, ended, every, fileOf, get, isLive, jobs, nameOf, on, post, refresh, submit, upload, whoOf } from "./api.js";
import { busy, button, dialog, field, fold, form, h, h2, input, inRow, link, note, nothing, numbered, option, pair, pic, put, settled, soft, ticked, typing } from "./dom.js";
import { gallery, open, small } from "./gallery.js";
import { begin, follow, standing } from "./jobs.js";
import { W } from "./words.js";

const G = W.generate;

export async function view(root, id, query, signal) {
	const [runs, bases, schema] = await Promise.all([every("runs"), get("bases", signal), get("schema", signal)]);
	const job = id && (jobs.get(id) || (await refresh(id)));
	const ready = runs.filter((one) => one.state === "done");
	const ask = asking(ready, bases, schema.kinds.generate, query, signal, job), acting = actions(ask);
	const result = h("section.result", { "aria-live": "polite" }), made = h("section");
	root.append(h("div.two", h("div.ask", h("h1", G.title), ask.element), h("div.got", result, made)));
	if (job) (job.kind === "grid" ? showGrid : showJob)(job, result, signal, acting, query.get("beside"));
	else if (!ready.length) result.append(nothing(G.noRuns, G.toTune, "#/tune"));
	gallery(made, signal, acting);
}

/** What can be done with a picture that is there. */
function actions(ask) {
	const asked = async (image) => {
		const { request, kind } = await get(`jobs/${image.job}`);
		if (kind !== "generate") throw new Problem(G.noRequest);
		return { ...request, prompts: [image.prompt], seed: image.seed, count: 1, best: null };
	};
	const to = (made) => async (image, ...more) => made(await asked(image), image, ...more);
	const beside = (image, request) => begin("generate", request, `?beside=${image.id}`);
	return {
		use: to((request) => { ask.fill(request); ask.focus(); note(G.filled); }),
		again: to((request) => begin("generate", { ...request, seed: chance(), count: 4 })),
		vary: to((request, image) => beside(image, { ...request, start: { ...request.start, vary: 0.2, vary_seed: chance() }, count: 4 })),
		over: to((request, image, words, count, start) => beside(image,
			{ ...request, prompts: [words], start, count, seed: chance(), sample: { ...request.sample, size: [image.width, image.height] } })),
		compare: to(async (request) => submit("generate", { ...request, run: null, base: request.base || (await get(`runs/${request.run}`)).base,
			checkpoint: null, strength: 1, adapters: [], embeddings: [], regions: [] })),
	};
}

export const linesOf = (box) => box.value.split("\n").map((line) => line.trim()).filter(Boolean);
const chance = () => Math.floor(Math.random() * 1e9);

/** What pictures can be made with: trainings, and plain bases; a training's stages; which are picked. */
export const models = (runs, bases, onchange, label) => h("select", { onchange, "aria-label": label },
	runs.length > 0 && h("optgroup", { label: G.yours }, runs.map((one) => option(`run:${one.id}`, nameOf(one)))),
	h("optgroup", { label: G.plainBases }, bases.map((one) => option(`base:${one.name}`, `${one.name} ${W.bases[one.name] || ""}`))));
export function choose(model, { run, base }) {
	const found = model.querySelector(`[value="${run ? `run:${run}` : `base:${base}`}"]`);
	if (found) found.selected = true;
}
export function staged(box, run, chosen) {
	put(box, run.files.includes("best.safetensors") && option("best", G.best), option("", G.last), run.candidates.map((step) => option(step, W.run.step(step))));
	box.value = chosen ?? box.options[0].value;
	if (box.selectedIndex < 0) box.value = "";
}
export function picked(model, checkpoint) {
	const [kind, id] = model.value.split(":"), stage = kind === "run" && checkpoint.value;
	return { [kind]: id, ...(stage && { checkpoint: Number(stage) || stage }) };
}

// --- the form

function asking(runs, bases, schema, query, signal, job) {
	const spot = h("div");
	const sample = schema.$defs.Sampling.properties;
	const source = models(runs, bases, () => busy(null, spot, sourced)), checkpoint = h("select");
	const prompt = h("textarea", { rows: 3, required: true, placeholder: G.promptExample, oninput: counted });
	const chips = h("div.chips"), pieces = h("p.soft.hint");
	const count = numbered({ value: 4, min: 1, max: 64, required: true }), best = numbered({ min: 1, max: 64, placeholder: G.all });
	const seed = numbered({ min: 0, max: 2 ** 32 - 65, placeholder: G.chance });
	const sampled = {
		steps: numbered({ value: sample.steps.default, min: 1, max: 150, required: true }), guidance: numbered({ value: sample.guidance.default, min: 0, max: 100, step: 0.5, required: true }),
		sampler: h("select", sample.sampler.enum.map((one) => option(one, one, sample.sampler.default))), negative: h("input", { maxlength: 2000 }),
	};
	const [width, height] = [G.width, G.height].map((label) => numbered({ min: 8, max: 2048, step: 8, placeholder: G.own, "aria-label": label }));
	const strength = input("range", { min: 0, max: 1.5, step: 0.05, value: 1, oninput: strengthened }), strong = h("output");
	function strengthened() { strong.textContent = Number(strength.value).toFixed(2); }
	const strengthField = field(G, "strength", strength, " ", strong);
	const checkpointField = field(G, "checkpoint", checkpoint);
	const fast = input("checkbox", { onchange: () => { kept = { ...kept, sample: {} }; } });
	const closer = input("checkbox", { onchange: closely }), word = h("input", { maxlength: 2000 }), near = h("div");
	const second = input("range", { min: 0.1, max: 1, step: 0.1 });
	function closely() { put(near, closer.checked && pair(field(G, "word", word), field(W.gallery, "strength", second))); }
	const where = h("select", Object.entries(G.ways).map(([one, text]) => option(one, text))), places = field(G, "where", where);
	const also = h("div");
	let kept = {}, who = "", read_by, had = null; // the subject's words; the checkpoint to take once these are known

	async function sourced() {
		const [kind, id] = source.value.split(":");
		strengthField.hidden = checkpointField.hidden = kind !== "run";
		who = word.placeholder = "";
		if (kind === "run") {
			const run = await get(`runs/${id}`, signal);
			who = whoOf(run);
			word.placeholder = run.subject;
			read_by = run.base;
			staged(checkpoint, run, had);
			had = null;
			if (!prompt.value.trim()) prompt.value = G.firstPrompt(who);
		} else read_by = id;
		counted();
		word.required = !word.placeholder;
		const more = runs.filter((one) => one.id !== id && one.base === read_by).slice(0, 3).map(G.beside);
		put(chips, [who, ...G.scenes, ...more].filter(Boolean).map((text) => button(text, () => insert(text), { class: "chip", "aria-label": G.add(text) })));
	}

	function insert(text) {
		const at = prompt.selectionStart ?? prompt.value.length, before = prompt.value.slice(0, at);
		prompt.setRangeText(`${before && !/\s$/.test(before) ? " " : ""}${text}`, at, prompt.selectionEnd ?? at, "end");
		prompt.focus();
		keep();
		counted();
	}
	const lines = () => linesOf(prompt);
	function counted() {
		const worn = source.value.startsWith("run") + (kept.adapters?.length || 0);
		places.hidden = !where.value && !lines().some((text) => worn + text.split("<lora:").length > 2);
		read();
	}
	const read = settled(() => read_by && busy(null, spot, async () => { pieces.textContent = (await post("pieces", { base: read_by, texts: lines() }, { signal })).said; }), 300);

	function request() {
		const model = picked(source, checkpoint);
		const asked = Object.fromEntries(Object.entries(sampled).map(([name, control]) => [name, control.type === "number" ? Number(control.value) : control.value]));
		return {
			...kept, run: null, base: null, checkpoint: null, ...model, prompts: lines(), regions: where.value.split("|").filter(Boolean),
			start: kept.start || closer.checked ? { ...kept.start, detail: closer.checked ? word.value.trim() || word.placeholder : "", second: Number(second.value) } : null, count: Number(count.value), seed: seed.value === "" ? chance() : Number(seed.value),
			best: Number(best.value) || null, strength: model.run && Number(strength.value), preview_every: best.value ? 0 : 5,
			sample: { ...kept.sample, ...(fast.checked ? { negative: asked.negative } : asked), fast: fast.checked, size: width.value && height.value ? [Number(width.value), Number(height.value)] : null },
		};
	}

	async function fill(given, asked = true) {
		choose(source, given);
		had = given.checkpoint ?? null;
		prompt.value = (given.prompts || []).join("\n");
		if (given.count) count.value = given.count;
		best.value = given.best ?? "";
		seed.value = given.seed ?? "";
		const { size, ...own } = given.sample || {};
		for (const [name, control] of Object.entries(sampled)) if (own[name] !== undefined) control.value = own[name];
		[width.value, height.value] = size || ["", ""];
		// What has no field here goes along, and is said where it is not the usual.
		fast.checked = own.fast;
		const { start, adapters, embeddings, regions = [] } = kept = given, ways = regions.join("|");
		word.value = start?.detail || "";
		closer.checked = Boolean(word.value);
		second.value = start?.second ?? 0.4;
		closely();
		where.value = ways;
		if (where.selectedIndex < 0) where.append(option(ways, ways, ways));
		const found = Object.entries({ adapters, embeddings, ...own })
			.filter(([name, value]) => !(name in sampled) && value?.length !== 0 && (value ?? false) !== (sample[name]?.default ?? false));
		const begun = start && (start.image || start.vary || start.upscale > 1 || start.box);
		put(also, (begun || found.length > 0) && [soft(begun && G.begun, found.length > 0 && G.also(found)), button(G.without, () => { kept = {}; put(also); counted(); })]);
		strength.value = given.strength ?? 1;
		strengthened();
		await sourced();
		if (asked) keep();
	}

	const dropped = input("file", { accept: "image/png", hidden: true, onchange: () => taken(dropped.files[0]) });
	const element = form(G.go, () => begin("generate", request()), [
		pair(field(G, "with", source), checkpointField),
		field(G, "prompt", prompt), chips, pieces,
		pair(field(G, "count", count), field(G, "keep", best)),
		strengthField, places, ticked(G.fast, fast), ticked(G.closer, closer), near, also,
		fold(G.more,
			field(G, "negative", sampled.negative),
			pair(field(G, "steps", sampled.steps), field(G, "guidance", sampled.guidance)),
			pair(field(G, "sampler", sampled.sampler), field(G, "seed", seed)),
			h("fieldset.field", h("legend", G.size), pair(width, height)),
			inRow(button(G.fromPicture, () => dropped.click()), dropped), h("p.soft.hint", G.fromPictureHint)), spot,
	], button(G.gridButton, () => gridAsk(request)));
	element.addEventListener("dragover", (event) => event.preventDefault());
	element.addEventListener("drop", (event) => { event.preventDefault(); taken(event.dataTransfer.files[0]); });

	const taken = (file) => file && busy(null, spot, async () => {
		await fill({ count: 1, ...(await upload("recipes", file)) });
		note(G.filled);
	});

	const { keep, typed } = typing(element, () => ({ ...request(), prompts: prompt.value.split("\n"), seed: seed.value || undefined }));
	busy(null, spot, () => fill(typed || (job?.kind === "generate" ? job.request : Object.fromEntries(query)), false));
	return { element, fill, request, focus: () => { element.scrollIntoView({ block: "start" }); prompt.focus(); } };
}

// --- a grid

function gridAsk(request) {
	const axis = (label, chosen) => {
		const name = h("select", { onchange: () => { values.value = G.axes[name.value][1]; } }, Object.entries(G.axes).map(([one, [text]]) => option(one, text, chosen)));
		const values = h("input", { value: G.axes[chosen][1], required: true });
		const read = () => ({ name: name.value, values: values.value.split(/[,|]/).map((one) => one.trim()).filter(Boolean) });
		return { read, row: pair(field(G, label, name), field(G, "values", values)) };
	};
	const [x, y] = [axis("across", "guidance"), axis("down", "steps")];
	const box = dialog(G.gridTitle, form(G.gridGo, async () => {
		const { run, base, sample, seed, prompts } = request(), across = x.read(), down = y.read();
		await begin("grid", { run, base, sample, seed, prompt: prompts[0], count: 1, x: across, y: down.name === across.name ? null : down });
		box.close();
	}, [soft(G.gridLead), x.row, y.row]));
}

function showGrid(job, place, signal) {
	follow(job.id, signal, (now) => {
		if (now.state !== "done") return put(place, standing(now, G.gridMaking));
		const sheets = now.result.files.filter((name) => name.endsWith(".png")).map((name) => fileOf(now, name));
		put(place, h2(G.gridTitle), sheets.map((src) => link(h("img.whole-sheet", { src, alt: G.gridAlt(Object.values(now.result.axes).join("; ")) }), src, { download: true })), soft(G.gridNote));
	});
}

// --- pictures as they come

async function showJob(job, place, signal, acting, beside) {
	const total = job.request.prompts.length * job.request.count;
	const here = new Set(), partial = new Map(), first = [];
	let images = [], loaded = false;
	const tiles = h("div.photos.results"), status = h("div");
	put(place, h2(G.result), h("p.soft.prompt-said", job.request.prompts.join(" · ")), status, tiles);

	function draw() {
		const now = jobs.get(job.id);
		const scores = new Map((now.result?.rankings || []).flat().map((one) => [one.image, one]));
		const place = scores.size ? rank : asked, order = images.toSorted((a, b) => place(a, scores) - place(b, scores) || a.seed - b.seed);
		const waiting = isLive(now) || !loaded ? total - images.length : 0;
		const shown = [...first, ...order];
		put(tiles, shown.map((image, i) => tile(image, shown, i, scores.get(image.id), acting, first[0] === image)),
			[...Array(Math.max(0, waiting)).keys()].map((i) => {
				const seen = [...partial.values()][i];
				return h("div.gone.making", seen ? h("img", { src: `api/v1/jobs/${job.id}/partial/${seen.number}?${seen.step}`, alt: G.partial }) : h("span", W.states.queued));
			}));
		put(status, now.state !== "done" && standing(partial.size && !now.progress?.what ? { ...now, progress: { what: G.drawing } } : now), beside && soft(G.varied), scores.size > 0 && soft(G.scored));
	}
	const asked = (image) => job.request.prompts.indexOf(image.prompt);
	const rank = (image, scores) => [...scores.keys()].indexOf(image.id) + (scores.get(image.id)?.chosen ? 0 : 1000);

	// Answers may overtake each other: none makes pictures fewer.
	async function load() {
		const { items } = await get(`images?job=${job.id}&limit=200`, signal);
		if (items.length >= images.length) images = items;
		loaded = true;
		draw();
	}

	on("partial", (one) => { if (one.job === job.id && !here.has(one.number)) { partial.set(one.number, one); draw(); } }, signal);
	on("picture", (one) => {
		if (one.job !== job.id) return;
		here.add(one.number);
		partial.delete(one.number);
		load();
	}, signal);
	follow(job.id, signal, draw); // at once: nothing jumps later
	if (beside) first.push(await get(`images/${beside}`, signal));
	await load();
	if (innerWidth < 820) place.scrollIntoView();
	if (isLive(job)) {
		await ended(job.id, signal);
		await load();
	}
}

function tile(image, all, i, score, acting, isFirst) {
	const made = pic(() => open(all, i, acting), small(image), isFirst && h("span.badge", G.original),
		score && h("span.badge", (score.chosen ? G.chosen : G.score)(score.prompt, score.likeness)));
	made.classList.toggle("lesser", score?.chosen === false);
	return made;
}
