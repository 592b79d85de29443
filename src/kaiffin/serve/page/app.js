// The page's frame: who is here, which part is shown, whether the service answers.
import { get, jobs, listen, loadJobs, on, pause, post, quiet, remove, isLive } from "./api.js";
import { button, dialog, field, form, h, input, inRow, link, put, say, stored, trouble } from "./dom.js";
import { drawer, said } from "./jobs.js";
import { W } from "./words.js";

const VIEWS = ["dataset", "tune", "generate", "compare", "settings"];
const main = document.getElementById("main");
let leaving = new AbortController();
let me = null;

// What a place began ends with it.
addEventListener("unhandledrejection", (event) => event.reason?.name === "AbortError" && event.preventDefault());

/** Where the address leads: #/part/id?more. */
function place() {
	const [path, more] = location.hash.replace(/^#\/?/, "").split("?");
	const [part, ...ids] = path.split("/");
	return { part: VIEWS.includes(part) ? part : "dataset", id: ids.join("/"), query: new URLSearchParams(more || "") };
}

async function show() {
	typed();
	for (const box of document.querySelectorAll("dialog:not(.gate)")) box.close();
	leaving.abort();
	leaving = new AbortController();
	const { signal } = leaving, { part, id, query } = place();
	for (const one of document.querySelectorAll("#head a[data-part]")) {
		one.ariaCurrent = one.dataset.part === part ? "page" : null;
		if (one.ariaCurrent) document.title = W.title(one.textContent);
	}
	const root = h(`div.view.${part}`);
	try {
		const { view } = await import(`./${part}.js`);
		if (signal.aborted) return;
		put(main, root);
		scrollTo(0, 0);
		await view(root, id, query, signal, me);
	} catch (error) {
		if (error.name === "AbortError" || signal.aborted) return;
		put(main, root);
		if (!("problem" in error)) console.error(error);
		put(root, trouble(error), inRow(button(W.acts.retry, show), link(W.toStart, "#/dataset")));
	}
}

/** What is being typed is sent before its place is gone. */
const typed = () => main.contains(document.activeElement) && document.activeElement.blur();

/** The head is in the document, so that it is seen before any script has come. */
function head() {
	document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
	document.querySelector(".more").append(drawer());
}

// --- who is here

function login() {
	if (document.querySelector(".gate")) return;
	const key = input("password", { autocomplete: "current-password", required: true });
	quiet();
	const asking = dialog(W.login, form(W.enter, async () => {
		await post("session", { key: key.value.trim() });
		asking.close();
		begin();
	}, [h("p", location.search.includes("token=") ? W.usedToken : W.loginLead), h("input", { hidden: true, autocomplete: "username" }), field(W, "key", key)]));
	asking.classList.add("gate");
	asking.addEventListener("cancel", (event) => event.preventDefault());
	asking.querySelector(".buttons button").remove();
	key.focus();
}

export async function logOut() {
	await remove("session");
	for (const kept of ["sessionStorage", "localStorage"]) stored(() => globalThis[kept].clear());
	location.reload();
}

// --- whether the service answers

let answers = true;

function line(good) {
	if (good === answers) return;
	answers = good;
	const spot = document.getElementById("line");
	spot.textContent = good ? W.lineBack : W.lineGone;
	spot.classList.toggle("bad", !good);
	spot.classList.add("on");
	if (!good) return retry();
	loadJobs().catch(() => {});
	setTimeout(() => answers && spot.classList.remove("on"), 2500);
}

async function retry() {
	while (!answers) {
		await pause(1500);
		await get("session").catch(() => {});
	}
}

// --- what is over

let unseen = false; // something is over that nobody has looked at

function finished({ job, before } = {}) {
	if (document.hidden && before && isLive(before) && !isLive(job)) {
		unseen = true;
		said(job);
	}
	const live = [...jobs.values()].filter(isLive).length;
	document.title = `${unseen ? "✓ " : ""}${live ? `(${live}) ` : ""}${document.title.replace(/^(✓ )?(\(\d+\) )?/, "")}`;
}

async function begin() {
	if (location.search) history.replaceState(null, "", location.pathname + location.hash);
	try {
		me = await get("session");
	} catch (error) {
		if (error.status === 401) return;
		throw error;
	}
	listen();
	await loadJobs().catch(() => {});
	await show();
}

head();
on("stranger", login);
on("line", line);
on("job", finished);
document.addEventListener("visibilitychange", () => { if (!document.hidden) { unseen = false; finished(); } });
addEventListener("hashchange", show);
addEventListener("pagehide", typed);
begin().catch((error) => say(main, error));
