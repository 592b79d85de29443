// Settings: keys and people, bases, what computes.
import { api, get, on, post } from "./api.js";
import { ago, bold, busy, button, dialog, doer, field, fold, h, h2, heading, inRow, part, plainList, soft, sure, table } from "./dom.js";
import { logOut } from "./app.js";
import { W } from "./words.js";

const S = W.settings;

export async function view(root, id, query, signal, me) {
	const [bases, known] = await Promise.all([get("bases", signal), get("bases/known", signal)]);
	const devices = h("section", {});
	root.append(...heading(S.over, S.title),
		part(h2(S.you), h("p", {}, S.who(me.user, me.scopes)), quotas(me.quotas), inRow(doer(S.out, devices, logOut))),
		devices,
		part(h2(S.bases), soft(S.basesLead), h("ul", {}, bases.map((one) => h("li", {}, bold(one.name), ` ${(W.bases[one.name] || "").replace(one.name, "")}`))), fold([S.others], soft(known.how), plainList(known.bases.map((one) => h("li", { class: "absent" }, bold(one.name), ` ${one.about}`,
				one.commands.map((text) => h("code", {}, text))))))));
	const draw = async () => {
		const found = await get("devices", signal);
		devices.replaceChildren(h2(S.devices), plainList(found.map((one) => h("li", {}, S.device(one)))), found.length ? soft(S.share(found[0].share)) : "");
	};
	await draw();
	let timer = null;
	on("job", () => { timer ||= setTimeout(() => { timer = null; if (!signal.aborted) draw().catch(() => {}); }, 1500); }, signal);
	if (me.scopes.includes("admin")) root.append(await people(signal));
}

const quotas = (some) => h("ul", {}, ["pictures", "queued", "bytes"].filter((name) => some[name] !== null).map((name) => h("li", {}, S.quota[name](some[name]))));

async function people(signal) {
	const place = h("section", {}), spot = h("div");
	async function draw() {
		const keys = await get("keys", signal);
		const open = keys.filter((key) => !key.revoked);
		place.replaceChildren(h2(S.keys), soft(S.keysLead),
			open.length ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": S.keys }, table(S.keyHeads, open.map((key) => h("tr", {}, h("th", { scope: "row" }, key.name), h("td", {}, key.user), h("td", {}, key.scopes.map((one) => S.scopes[one]).join(", ")), h("td", {}, ago(key.created)),
					h("td", {}, button(S.revoke, async (event) => {
						if (await sure(S.revokeSure(key.name), S.revoke)) busy(event.currentTarget, spot, async () => { await api(`keys/${key.id}`, { method: "DELETE" }); await draw(); });
					}, { "aria-label": S.revokeOf(key.name) })))))) : h("p", {}, S.noKeys),
			spot, fold([S.newKey], form()));
	}
	function form() {
		const name = h("input", { required: true, maxlength: 60 }), user = h("input", { required: true, maxlength: 60 });
		const scopes = Object.keys(S.scopes).map((scope) => h("input", { type: "checkbox", value: scope, checked: scope !== "admin" }));
		const most = ["pictures", "queued"].map((what) => h("input", { type: "number", min: 0, placeholder: S.any, id: `most-${what}` }));
		const go = h("button", { class: "main" }, S.make), where = h("div");
		return h("form", { class: "form", onsubmit: (event) => {
			event.preventDefault();
			busy(go, where, async () => {
				const numbers = Object.fromEntries(most.filter((one) => one.value !== "").map((one) => [one.id.slice(5), Number(one.value)]));
				const made = await post("keys", { name: name.value.trim(), user: user.value.trim(), scopes: scopes.filter((one) => one.checked).map((one) => one.value), ...numbers });
				await draw();
				dialog(S.keyMade, h("p", {}, S.keyOnce), h("p", {}, h("code", { class: "secret" }, made.secret)), button(S.copy, () => navigator.clipboard?.writeText(made.secret)));
			});
		} }, field(S.keyName, name, S.keyNameHint), field(S.keyUser, user, S.keyUserHint),
			h("fieldset", { class: "field" }, h("legend", {}, S.may), scopes.map((one) => h("label", { class: "check" }, one, S.scopes[one.value]))),
			field(S.mostPictures, most[0]), field(S.mostQueued, most[1]), go, where);
	}
	await draw();
	return place;
}
