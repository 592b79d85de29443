// The service's API: requests, uploads, events; what fails comes as a Problem with a way out.
import { W } from "./words.js";

export class Problem extends Error {
	constructor(problem, way_out = "", status = 0) {
		super(problem);
		Object.assign(this, { problem, way_out, status });
	}
}

const bus = new EventTarget();
export const tell = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));
export const on = (name, listen, signal) => bus.addEventListener(name, (event) => listen(event.detail), { signal });

/** What the service said in place of an answer; a proxy's page says nothing. */
function problemOf(status, text) {
	let said = {};
	try { said = JSON.parse(text).error || {}; } catch { /* no JSON */ }
	if (status === 401) tell("stranger");
	return new Problem(said.problem || W.odd(status), said.field ? W.fieldWay : said.way_out, status);
}

export async function api(path, { method = "GET", body, key, signal } = {}) {
	const headers = { ...(body && { "content-type": "application/json" }), ...(key && { "idempotency-key": key }) };
	let answer;
	try {
		answer = await fetch(`api/v1/${path}`, { method, headers, signal, keepalive: method === "PATCH", body: JSON.stringify(body) });
	} catch (error) {
		if (error.name === "AbortError") throw error;
		tell("line", false);
		throw new Problem(W.offline, W.offlineWay);
	}
	tell("line", true);
	if (!answer.ok) throw problemOf(answer.status, await answer.text());
	return answer.status === 204 ? null : answer.json();
}

export const get = (path, signal) => api(path, { signal });
export const post = (path, body, more) => api(path, { method: "POST", body, ...more });
export const patch = (path, body) => api(path, { method: "PATCH", body });
export const remove = (path) => api(path, { method: "DELETE" });

/** A job, asked for once however often the line breaks while it is. */
export async function submit(kind, request) {
	const key = crypto.getRandomValues(new Uint32Array(4)).join("-");
	for (let turn = 0; ; turn += 1) {
		try {
			return await newer(await post("jobs", { kind, request }, { key }));
		} catch (error) {
			if (error.status || turn === 4) throw error;
			await pause(1000 * 2 ** turn);
		}
	}
}

/** The newest job of a kind whose request fits. */
export const newest = async (kind, fits, signal) => (await get(`jobs?kind=${kind}&limit=200`, signal)).items.find(({ request }) => fits(request));

export const act = async (job, what) => newer(await post(`jobs/${job}/${what}`));
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** One file; `progress` hears of the share that is there. */
export function upload(path, file, progress = () => {}) {
	return new Promise((done, fail) => {
		const form = new FormData(), request = new XMLHttpRequest();
		form.append("file", file, file.name);
		request.open("POST", `api/v1/${path}`);
		request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
		request.onerror = () => fail(new Problem(W.offline, W.uploadWay));
		request.onload = () => (request.status < 300 ? done(JSON.parse(request.responseText)) : fail(problemOf(request.status, request.responseText)));
		request.send(form);
	});
}

/** All of a paged list. */
export async function every(path, most = 1000) {
	const found = [];
	let before = "";
	do {
		const join = path.includes("?") ? "&" : "?";
		const page = await get(`${path}${join}limit=200${before}`);
		found.push(...page.items);
		before = page.next ? `&${path.includes("/photos") ? "after" : "before"}=${page.next}` : "";
	} while (before && found.length < most);
	return found;
}

// --- jobs, as they are now

export const jobs = new Map();

export function hear(job) {
	const before = jobs.get(job.id);
	jobs.set(job.id, { ...before, ...job });
	tell("job", { job: jobs.get(job.id), before });
	return jobs.get(job.id);
}

const asked = new Map(); // of each job that is being asked for: the last question

/** A job as it is now: the answer to the last question. */
export async function refresh(id) {
	const question = Symbol();
	asked.set(id, question);
	const job = await get(`jobs/${id}`);
	if (asked.get(id) !== question) return jobs.get(id) || job;
	asked.delete(id);
	return hear(job);
}

/** What came of a request, even where the line breaks right after it. */
const newer = (job) => refresh(job.id).catch(() => hear(job));

export async function loadJobs() {
	for (const job of (await get("jobs?limit=100")).items.reverse()) hear(job);
}

/** What a set of photos or a training shows, in its owner's words. */
export const whoOf = ({ subject, noun }) => [subject, noun].filter(Boolean).join(" ");
export const nameOf = (one) => one.name || whoOf(one) || W.dataset.nameless(one.created);

export const fileOf = (job, name) => `api/v1/jobs/${job.id}/files/${name}`;
export const isLive = (job) => ["queued", "running", "pausing", "paused"].includes(job.state);

/** Resolves with the job once it is over or held. */
export function ended(id, signal) {
	return new Promise((done) => {
		const look = (job) => job.id === id && !isLive(job) && done(job);
		on("job", ({ job }) => look(job), signal);
		if (jobs.has(id)) look(jobs.get(id));
		refresh(id).then(look, () => {});
	});
}

// --- events

let last = null, source = null, polling = false;

function heard(what, data) {
	if (what === "progress") {
		const job = jobs.get(data.job);
		if (!job) return;
		hear({ id: job.id, progress: { done: data.done, total: data.total, what: data.what } });
		if (asked.has(job.id)) refresh(job.id).catch(() => {}); // the answer on its way may be older
	} else if (what === "job") {
		const { job: id, ...facts } = data;
		hear({ id, ...facts });
		refresh(id).catch(() => {});
	} else tell(what, data);
}

/** From now on: a stream, or questions where none is or nobody looks. */
export function listen() {
	stream();
	document.addEventListener("visibilitychange", () => (document.hidden ? poll() : stream()));
}

function take(page) {
	for (const one of page.items) heard(one.what, one.data);
	last = page.next;
}

function stream() {
	if (source) return;
	source = new EventSource(`api/v1/events${last === null ? "" : `?since=${last}`}`);
	for (const what of ["job", "progress", "note", "picture", "partial"]) {
		source.addEventListener(what, (event) => { last = Number(event.lastEventId); heard(what, JSON.parse(event.data)); });
	}
	source.onopen = () => tell("line", true);
	source.onerror = () => {
		tell("line", false);
		// A browser tries again by itself, but for an answer that was no stream.
		if (source?.readyState === EventSource.CLOSED) poll();
	};
}

/** A browser has a few connections for a service: pages in the background ask. */
async function poll() {
	source?.close();
	source = null;
	if (polling) return;
	polling = true;
	while (document.hidden || !source) {
		try {
			if (last === null) await loadJobs();
			else take(await get(`events/page?since=${last}&limit=1000`));
			if (!document.hidden) break;
		} catch (error) {
			if (error.status === 401) break;
		}
		await pause(document.hidden ? 5000 : 2000);
	}
	polling = false;
	if (!document.hidden) stream();
}
export const quiet = () => { source?.close(); source = null; };
