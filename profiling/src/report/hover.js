"use strict";
/* Shows the figures under the pointer. The page says everything else without it. */
for (const area of document.querySelectorAll(".area")) {
  const times = area.dataset.t.split(",").map(Number);
  const bands = area.dataset.v.split(";").map((band) => band.split(",").map(Number));
  const legend = [...area.closest("figure").querySelectorAll(".legend li")];
  const tip = area.querySelector(".tip");
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  cursor.hidden = true;
  area.append(cursor);
  const end = Number(area.dataset.d) || 1;
  const mebibytes = (kibibytes) => (kibibytes / 1024).toFixed(1) + " MiB";
  const line = (swatch, name, value) => {
    const row = document.createElement("div");
    if (swatch) row.append(swatch.cloneNode());
    const label = document.createElement("span");
    label.textContent = name;
    const figure = document.createElement("b");
    figure.textContent = value;
    row.append(label, figure);
    return row;
  };
  area.addEventListener("pointermove", (event) => {
    const box = area.getBoundingClientRect();
    const wanted = ((event.clientX - box.left) / box.width) * end;
    let at = 0;
    times.forEach((time, index) => {
      if (Math.abs(time - wanted) < Math.abs(times[at] - wanted)) at = index;
    });
    const total = bands.reduce((sum, band) => sum + (band[at] || 0), 0);
    tip.replaceChildren(line(null, (times[at] / 1e6).toFixed(3) + " s", mebibytes(total)));
    legend.forEach((item, index) => {
      if (bands[index][at]) {
        tip.append(line(item.querySelector("i"), item.textContent, mebibytes(bands[index][at])));
      }
    });
    const left = (100 * times[at]) / end;
    cursor.style.left = left + "%";
    tip.style.left = left < 50 ? left + 2 + "%" : "auto";
    tip.style.right = left < 50 ? "auto" : 102 - left + "%";
    tip.hidden = cursor.hidden = false;
  });
  area.addEventListener("pointerleave", () => {
    tip.hidden = cursor.hidden = true;
  });
}
