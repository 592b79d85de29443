// A slider through stops with a mark below each: of the report, and of the page of the service.
// bar: a .slider with an input, .said and .stops; stops: {label, said, step, chosen}; show: called with each.
export function stopsSlider(bar, stops, show) {
  const range = bar.querySelector("input");

  function set(number) {
    const stop = stops[number];
    const name = stop.label + (stop.chosen ? " (chosen)" : "");
    range.value = number;
    range.setAttribute("aria-valuetext", `${name}: ${stop.said}`);
    bar.querySelector(".said b").textContent = name;
    bar.querySelector(".said span").textContent = stop.said;
    show(stop, number);
  }

  bar.querySelector(".stops").replaceChildren(...stops.map((stop, number) => {
    const mark = document.createElement("span");
    mark.textContent = stop.step || "base";
    const few = stops.length <= 10 || number % Math.ceil(stops.length / 8) === 0;
    if (!few && !stop.chosen && number !== stops.length - 1) mark.textContent = "·";
    mark.classList.toggle("chosen", stop.chosen);
    mark.classList.toggle("end", number === 0 || number === stops.length - 1);
    return mark;
  }));
  range.max = stops.length - 1;
  range.addEventListener("input", () => set(Number(range.value)));
  bar.hidden = false;
  return { set, last: stops.length - 1, at: () => Number(range.value) };
}
