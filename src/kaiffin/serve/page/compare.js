// Compare: the same prompts and seeds of two to six models, side by side; blind, if wished.
import { Problem, api, every, get, on, submit } from "./api.js";
import { aside, busy, button, doer, field, h, h2, heading, inRow, link, option, sentence, share, soft, table } from "./dom.js";
import { small } from "./gallery.js";
import { stages } from "./generate.js";
import { follow, standing } from "./jobs.js";
import { zoom } from "./viewer.js";
import { runName } from "./tune.js";
import { W } from "./words.js";

const C = W.compare;
const MOST = 6;

export async function view(root, id, query, signal) {
	const [runs, bases] = await Promise.all([every("runs"), get("bases", signal)]);
	root.append(...heading(C.over, C.title, C.lead));
	if (id) await shown(root, id.split(","), query, runs, signal);
	else root.append(asking(runs.filter((one) => one.state === "done"), bases));
}

function asking(runs, bases) {
	const spot = h("div"), list = h("div", { class: "rivals" });
	const models = [...runs.map((one) => [`run:${one.id}`, runName(one)]), ...bases.map((one) => [`base:${one.name}`, W.bases[one.name] || one.name])];

	function add(chosen) {
		const checkpoint = h("select", { "aria-label": C.checkpoint });
		const model = h("select", { "aria-label": C.model, onchange: () => load() }, models.map(([value, text]) => option(value, text, chosen)));
		const load = async () => {
			const [kind, id] = model.value.split(":");
			checkpoint.hidden = kind !== "run";
			if (kind !== "run") return;
			const run = await get(`runs/${id}`);
			checkpoint.replaceChildren(...stages(run));
		};
		const row = h("div", { class: "rival" }, model, checkpoint, button(C.drop, () => { row.remove(); more.hidden = list.children.length >= MOST; }));
		row.read = () => {
			const [kind, id] = model.value.split(":");
			const step = checkpoint.value;
			return { [kind]: id, ...(kind === "run" && step ? { checkpoint: step === "best" ? "best" : Number(step) } : {}) };
		};
		list.append(row);
		more.hidden = list.children.length >= MOST;
		load();
	}

	const more = button(C.add, () => add(models[0][0]));
	const first = runs[0], who = first ? [first.subject, first.noun].filter(Boolean).join(" ") : "kaiffin penguin";
	const prompts = h("textarea", { rows: 4, required: true, value: C.prompts(who) });
	const count = h("input", { type: "number", min: 1, max: 8, value: 2, required: true });
	const blind = h("input", { type: "checkbox" });
	const go = h("button", { class: "main" }, C.go);
	add(models[0][0]);
	add(first ? `base:${first.base}` : models.at(-1)[0]);
	return h("form", { class: "form wide", onsubmit: (event) => {
		event.preventDefault();
		busy(go, spot, async () => {
			const rows = [...list.children];
			if (rows.length < 2) throw new Problem(C.two);
			const asked = { prompts: prompts.value.split("\n").map((line) => line.trim()).filter(Boolean), count: Number(count.value), seed: 1 };
			const made = [];
			for (const row of rows) made.push((await submit("generate", { ...row.read(), ...asked })).id);
			location.hash = `#/compare/${made.join(",")}${blind.checked ? "?blind=1" : ""}`;
		});
	} }, h("fieldset", { class: "field" }, h("legend", {}, C.models), list, more),
		field(C.promptsLabel, prompts, C.promptsHint), field(C.count, count), h("label", { class: "check" }, blind, C.blind), inRow(go), spot);
}

/** A number that is the same whenever the page is loaded: where a picture stands when names are hidden. */
const scatter = (text) => [...text].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) >>> 0, 7);

async function shown(root, ids, query, runs, signal) {
	const blind = query.get("blind") === "1";
	const rivals = await Promise.all(ids.map(async (id) => {
		const job = await get(`jobs/${id}`, signal), run = runs.find((one) => one.id === job.request.run);
		const step = job.request.checkpoint;
		return { id, job, name: run ? `${runName(run)}${step ? `, ${step === "best" ? W.generate.best : W.run.step(step)}` : ""}` : W.bases[job.request.base] || job.request.base, images: [] };
	}));
	const status = h("div"), rows = h("div", { class: "rows" }), votes = h("section", { class: "votes", "aria-live": "polite" }), scores = h("section", {});
	root.append(inRow(link(C.other, "#/compare", { class: "button" }), aside(blind ? C.blindLead : C.openLead)), status, rows, votes, scores);

	async function load(one) {
		one.images = (await get(`images?job=${one.id}&limit=200`, signal)).items;
		draw();
	}

	// {token} and {noun} are filled in by then: a picture's prompt is known by its place among the job's.
	function of(rival, number, seed) {
		const texts = [...new Set([...rival.images].reverse().map((image) => image.prompt))];
		const { prompts } = rival.job.request;
		const text = texts.includes(prompts[number]) ? prompts[number] : texts[number];
		return rival.images.find((image) => image.seed === seed && image.prompt === text);
	}

	function lines() {
		const { prompts, count, seed: first } = rivals[0].job.request;
		return prompts.flatMap((prompt, number) => Array.from({ length: count }, (_, k) => ({ seed: first + k, prompt,
			cells: rivals.map((rival) => ({ rival, image: of(rival, number, first + k) })) })));
	}

	// A vote is for the pictures of a row, once all are there.
	const winners = new Map((await get(`votes?jobs=${ids}`, signal)).map((one) => [one.images.join(), one.won]));
	const key = (line) => line.cells.map((cell) => cell.image?.id).sort().join();
	const wins = (line, cell) => Boolean(cell.image) && winners.get(key(line)) === cell.image.id;
	const voted = (line) => line.cells.find((cell) => wins(line, cell));

	function draw() {
		const all = lines(), left = all.filter((line) => !voted(line)).length, open = !blind || left === 0;
		rows.replaceChildren(...all.map((line) => {
			const cells = open ? line.cells : [...line.cells].sort((a, b) => scatter(`${a.rival.id}${line.seed}${line.prompt}`) - scatter(`${b.rival.id}${line.seed}${line.prompt}`));
			const full = cells.filter((cell) => cell.image);
			const spot = h("div");
			return h("figure", { class: "card line-of" }, h("figcaption", {}, line.prompt, aside(` · ${W.seed(line.seed)}`)),
				h("div", { class: "side-by-side" }, cells.map((cell, i) => h("div", { class: `cell${wins(line, cell) ? " winner" : ""}` },
					aside(open ? cell.rival.name : C.letter(i)),
					cell.image ? h("button", { type: "button", class: "pic", onclick: () => zoom(full.map((one, k) => ({ src: `api/v1/images/${one.image.id}/file`, alt: line.prompt, title: open ? one.rival.name : C.letter(k) })), full.indexOf(cell)) },
						small(cell.image, open ? `${cell.rival.name}: ${line.prompt}` : C.letter(i))) : h("span", { class: "gone" }, C.coming),
					full.length === cells.length ? button(wins(line, cell) ? C.voted : C.vote, (event) => busy(event.currentTarget, spot, () => vote(line, cell)), { "aria-pressed": String(wins(line, cell)), "aria-label": C.voteFor(open ? cell.rival.name : C.letter(i), line.prompt, line.seed) }) : ""))), spot);
		}));
		counted(all, left, open);
	}

	async function vote(line, cell) {
		const won = wins(line, cell) ? null : cell.image.id;
		await api("votes", { method: "PUT", body: { images: key(line).split(","), won } });
		winners.set(key(line), won);
		const at = document.activeElement?.getAttribute("aria-label");
		draw();
		[...rows.querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === at)?.focus();
	}

	function counted(all, left, open) {
		const of = all.length - left;
		if (!open) { votes.replaceChildren(soft(C.left(left))); return; }
		if (!of) { votes.replaceChildren(); return; }
		const chance = 1 / rivals.length;
		votes.replaceChildren(h2(C.votes), table([C.model, C.preferred, C.interval], rivals.map((rival) => {
				const won = all.filter((line) => voted(line)?.rival === rival).length, { low, high } = share(won, of);
				return h("tr", {}, h("th", { scope: "row" }, rival.name), h("td", {}, C.wonOf(won, of)), h("td", {}, C.between(low, high), aside(low > chance ? C.more : high < chance ? C.less : C.unclear)));
			})), soft(C.votesNote));
	}

	for (const rival of rivals) {
		on("picture", (one) => one.job === rival.id && load(rival), signal);
		const place = h("div");
		status.append(place);
		follow(rival.id, signal, (now) => {
			place.replaceChildren(now.state === "done" ? "" : standing(now));
			if (now.state === "done") load(rival);
		});
	}
	for (const rival of rivals) await load(rival);
	const trained = [...new Set(rivals.map((one) => one.job.request.run).filter(Boolean))];
	if (trained.length > 1) judged(scores, trained, signal);
}

/** Scores of whole trainings against each other, with their intervals. */
async function judged(place, runs, signal) {
	const spot = h("div"), result = h("div", { "aria-live": "polite" });
	const before = (await get("jobs?kind=compare&limit=100", signal)).items.find((job) => job.request.runs.join() === runs.join());
	const draw = (job) => {
		if (job.state !== "done") { result.replaceChildren(standing(job)); return; }
		const { runs: names, differences, titles, note, files } = job.result;
		result.replaceChildren(table([C.measure, ...names.slice(1).map((name) => C.against(name, names[0]))], Object.keys(differences[0] || {}).map((measure) => h("tr", {}, h("th", { scope: "row" }, titles[measure]),
				differences.map((one) => h("td", {}, one[measure] ? [C.difference(one[measure].interval), aside(C.verdicts[one[measure].verdict] || one[measure].verdict)] : ""))))),
			note ? soft(sentence(note)) : "", h("img", { class: "whole-sheet", src: `api/v1/jobs/${job.id}/files/${files[0]}`, alt: C.sheet }));
	};
	const watch = (job) => { draw(job); follow(job.id, signal, (now) => draw({ ...job, ...now })); };
	const begin = doer(C.score, spot, async () => watch(await submit("compare", { runs })));
	place.replaceChildren(h2(C.scores), soft(C.scoresLead), begin, spot, result);
	if (before) watch(before);
}
