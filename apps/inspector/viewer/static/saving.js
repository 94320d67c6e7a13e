// A picture to keep: what is on the screen, what is written around it, and the notice burnt in below.

const LINE = 20;

export async function savePicture(view, notice) {
  if (!view.shown) return false;
  const { canvas, marks } = view;
  const ratio = window.devicePixelRatio || 1;
  const page = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height + 3 * LINE * ratio });
  const pen = page.getContext("2d");
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, page.width, page.height);
  pen.scale(ratio, ratio);
  const [width, height] = [canvas.width / ratio, canvas.height / ratio];
  pen.drawImage(canvas, 0, LINE, width, height);
  pen.font = "12px 'DejaVu Sans', system-ui, sans-serif";
  pen.fillStyle = "#e8e8e8";
  pen.fillText([view.name, marks.place.textContent, marks.number.textContent].filter(Boolean).join("   "), 8, 14, width - 16);
  const { room } = view.layout;
  pen.fillText(marks.left.textContent, 6, LINE + height / 2);
  pen.fillText(marks.right.textContent, room[0] - 18, LINE + height / 2);
  pen.fillText(marks.top.textContent, room[0] / 2 - 4, LINE + 22);
  pen.fillText(marks.bottom.textContent, room[0] / 2 - 4, LINE + height - 8);
  const unknown = view.plane.letters ? "" : "   orientation unknown";
  pen.fillText(`${marks.window.textContent} ${view.pane.unit}${unknown}`, 8, LINE + height + 14, width - 16);
  pen.fillStyle = "#ffd75e";
  pen.fillText(notice, 8, LINE + height + 14 + LINE, width - 16);
  const blob = await new Promise((done) => page.toBlob(done, "image/png"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = "picture.png";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return true;
}
