/* A click on a box of a flamegraph widens it to the page; a click on the top box takes it back. */
for (const flame of document.querySelectorAll(".flame")) {
  const boxes = [...flame.children].map((box) => ({
    box,
    left: parseFloat(box.style.left),
    width: parseFloat(box.style.width),
  }));
  flame.addEventListener("click", (event) => {
    const chosen = boxes.find((it) => it.box === event.target);
    if (!chosen) return;
    const scale = 100 / chosen.width;
    for (const it of boxes) {
      const left = (it.left - chosen.left) * scale;
      const right = left + it.width * scale;
      const clipped = Math.max(0, left);
      it.box.hidden = right <= 0.01 || left >= 99.99;
      it.box.style.left = clipped + "%";
      it.box.style.width = Math.min(100, right) - clipped + "%";
    }
  });
}
