// Settings: keys and people, bases, what computes.
import { get, on, post, remove } from "./api.js";
import { ago, bold, button, dialog, doer, field, fold, form, h, h2, input, inRow, line, numbered, pair, put, soft, sure, table, throttled, ticked } from "./dom.js";
import { logOut } from "./app.js";
import { W } from "./words.js";

const S = W.settings;

export async function view(root, id, query, signal, me) {
	const [bases, known] = await Promise.all([get("bases", signal), get("bases/known", signal)]);
	const devices = h("section"), spot = h("div");
	const draw = async () => {
		const found = await get("devices", signal);
		put(devices, h2(S.devices), h("ul.plain", found.map((one) => h("li", S.device(one)))), soft(found.length ? S.share(found[0].share) : S.noDevices));
	};
	await draw();
	root.append(h("h1", S.title),
		h("section", h2(S.you), h("p", S.who(me.user, mays(me.scopes))), quotas(me.quotas), inRow(doer(S.out, spot, logOut)), spot),
		devices,
		h("section", h2(S.bases), soft(S.basesLead), h("ul.plain", bases.map((one) => h("li", bold(one.name), ` ${W.bases[one.name] || ""}`))),
			fold(S.others, soft(known.how), h("ul.plain", known.bases.map((one) => h("li.absent", bold(one.name), ` ${one.about}`, one.commands.map((text) => h("code", text))))))));
	on("job", throttled(() => signal.aborted || draw().catch(() => {}), 1500), signal);
	if (me.scopes.includes("admin")) root.append(await people(signal));
}

const mays = (scopes) => Object.keys(S.scopes).filter((one) => scopes.includes(one)).map((one) => S.scopes[one]).join(", ");
const quotas = (some) => h("ul", Object.entries(S.quota).filter(([name]) => some[name] !== null).map(([name, said]) => h("li", said(some[name]))));

async function people(signal) {
	const place = h("section"), spot = h("div");
	async function draw() {
		const keys = await get("keys", signal);
		const open = keys.filter((key) => !key.revoked);
		put(place, h2(S.keys), soft(S.keysLead),
			open.length ? h("div.scroll", { tabindex: 0, role: "region", "aria-label": S.keys }, table(S.keyHeads, open.map((key) => line(key.name, key.user, mays(key.scopes), ago(key.created),
					doer(W.remove, spot, async () => {
						if (!(await sure(S.revokeSure(key.name), W.remove))) return;
						await remove(`keys/${key.id}`);
						await draw();
					}, { "aria-label": S.revokeOf(key.name) }))))) : h("p", S.noKeys),
			spot, fold(S.newKey, maker()));
	}
	function maker() {
		const name = h("input", { required: true, maxlength: 60 }), user = h("input", { required: true, maxlength: 60 });
		const scopes = Object.keys(S.scopes).map((scope) => input("checkbox", { value: scope, checked: scope !== "admin" }));
		const most = ["pictures", "queued"].map((what) => numbered({ min: 0, placeholder: S.any, name: what }));
		return form(S.make, async () => {
			const numbers = Object.fromEntries(most.filter((one) => one.value !== "").map((one) => [one.name, Number(one.value)]));
			const made = await post("keys", { name: name.value.trim(), user: user.value.trim(), scopes: scopes.filter((one) => one.checked).map((one) => one.value), ...numbers });
			await draw();
			dialog(S.keyMade, h("p", S.keyOnce), h("p", h("code.secret", made.secret)), button(S.copy, () => navigator.clipboard?.writeText(made.secret)));
		}, [field(S, "keyName", name), field(S, "keyUser", user),
			h("fieldset.field", h("legend", S.may), scopes.map((one) => ticked(S.scopes[one.value], one))),
			pair(field(S, "mostPictures", most[0]), field(S, "mostQueued", most[1]))]);
	}
	await draw();
	return place;
}
