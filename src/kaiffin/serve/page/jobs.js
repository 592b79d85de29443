// The drawer of jobs: what runs, what waits, why something failed; try again.
import { act, isLive, jobs, on, submit } from "./api.js";
import { ago, aside, bold, button, doer, duration, h, h2, inRow, link, note, put, redrawn, soft, throttled, trouble } from "./dom.js";
import { W } from "./words.js";

/** How far it is, in words and as a bar. */
function progress(job) {
	const { done = 0, total = null, what = "" } = job.progress || {};
	if (job.state === "queued") return soft(job.ahead ? W.ahead(job.ahead) : W.next);
	if (!["running", "pausing"].includes(job.state)) return null;
	const left = total && done > 2 && job.begun ? ((Date.now() / 1000 - job.begun) / done) * (total - done) : null;
	return h("div.progress",
		h("progress", { max: total || 1, value: total ? done : null, "aria-label": W.jobTitle(job) }),
		soft(W.progress(done, total, what), left > 5 ? ` · ${W.left(duration(left))}` : ""));
}

/** What can be done with it now. */
function acts(job, spot) {
	const more = { running: job.kind === "train" && "pause", paused: "resume", failed: "retry", held: "retry", cancelled: "retry" }[job.state];
	return [more, (isLive(job) || job.state === "held") && "cancel"].filter(Boolean).map((what) => doer(W.acts[what], spot, () => act(job.id, what), { "aria-label": W.actOn(W.acts[what], W.jobTitle(job)) }));
}

/** Where what comes of it is seen. */
const placeOf = ({ id, kind, request: { dataset, run } = {} }) => ({ train: `#/tune/${id}`, generate: `#/generate/${id}`, grid: `#/generate/${id}`,
	scan: `#/dataset/${dataset}`, choose: `#/tune/${run}`, export: run && `#/tune/${run}`, compare: "#/compare" })[kind];

/** Asks for a job, and leads to its page. */
export const begin = async (kind, request, more = "") => { location.hash = placeOf(await submit(kind, request)) + more; };

const wrong = (job) => job.problem && job.state !== "done" && trouble(job);

function card(job) {
	const spot = h("div");
	const href = job.request && placeOf(job);
	return h("li.job",
		h("p.job-head", bold(href ? link(W.jobTitle(job), href) : W.jobTitle(job)), h(`span.state.${job.state}`, W.states[job.state])),
		progress(job), wrong(job),
		inRow(acts(job, spot), aside(ago(job.ended || job.begun || job.created))), spot);
}

/** A job's place on a page: how far it is, what went wrong, what can be done. */
export function standing(job, title = "") {
	const spot = h("div");
	return h(title ? `div.verdict.${job.state}` : "div", title && h("p", bold(title)), progress(job), wrong(job), inRow(acts(job, spot)), spot);
}

/** A browser's own message, where it was allowed. */
export function said(job) {
	if (globalThis.Notification?.permission !== "granted") return;
	try { new Notification(W.isOver(job), { body: job.problem || "", tag: job.id, icon: "page/icon.svg" }); } catch { /* phones: only with a program that runs beside the page */ }
}

/** Asks for leave to do so; gone once the browser has an answer. */
function asks() {
	if (globalThis.Notification?.permission !== "default") return "";
	return h("p", button(W.tellMe, async (event) => {
		note((await Notification.requestPermission()) === "granted" ? W.told : W.notTold);
		event.target.closest("p").remove();
	}));
}

/** The button that opens it; it stays open while one goes on. */
export function drawer() {
	const place = document.getElementById("drawer");
	const count = h("span.count", { hidden: true });
	const open = button([W.jobs, count], () => toggle(place.hidden), { "aria-expanded": "false", "aria-controls": "drawer", class: "jobs-button" });

	function toggle(shown) {
		place.hidden = !shown;
		open.setAttribute("aria-expanded", String(shown));
		if (shown) { draw(); place.querySelector("button").focus(); } else open.focus();
	}

	function draw() {
		const found = [...jobs.values()].sort((a, b) => b.created - a.created);
		const live = found.filter(isLive);
		count.textContent = live.length;
		count.hidden = !live.length;
		if (place.hidden) return;
		const those = (...states) => found.filter((job) => states.includes(job.state));
		const groups = [[W.now, live], [W.troubled, those("held", "failed")], [W.over, those("done", "cancelled")]];
		redrawn(place, () => put(place, 
			h("div.buttons", h2(W.jobs), button(W.close, () => toggle(false))),
			asks(), found.length ? "" : soft(W.noJobs),
			...groups.filter(([, some]) => some.length).flatMap(([name, some]) => [h("h3", name), h("ul.plain", some.slice(0, 30).map(card))])));
	}

	place.setAttribute("aria-label", W.jobs);
	place.addEventListener("click", (event) => event.target.closest("a") && toggle(false));
	place.addEventListener("keydown", (event) => event.key === "Escape" && toggle(false));
	on("job", throttled(draw, 200));
	return open;
}

/** A job's place on a page: drawn again whenever it has news. */
export function follow(id, signal, draw) {
	on("job", ({ job, before }) => job.id === id && draw(job, before), signal);
	if (jobs.has(id)) draw(jobs.get(id));
}

