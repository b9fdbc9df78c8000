// What is different between two texts, line by line: the longest common part is found, and all but three lines around a change left out.
export type Line = { kind: "same" | "add" | "del" | "gap"; text: string };

/** Compares two texts. */
export function diff(before: string, after: string): Line[] {
  const a = before.split("\n"), b = after.split("\n");
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const x = a.slice(start, a.length - end), y = b.slice(start, b.length - end);
  const same = (text: string): Line => ({ kind: "same", text });
  const lines = [...a.slice(0, start).map(same), ...middle(x, y), ...a.slice(a.length - end).map(same)];
  return fold(lines);
}

function middle(x: string[], y: string[]): Line[] {
  const del = x.map((text): Line => ({ kind: "del", text })), add = y.map((text): Line => ({ kind: "add", text }));
  if (x.length * y.length === 0 || x.length * y.length > 4_000_000) return [...del, ...add];
  const wide = y.length + 1;
  const best = new Uint16Array((x.length + 1) * wide);
  const at = (i: number, j: number) => best[i * wide + j] ?? 0;
  for (let i = x.length - 1; i >= 0; i -= 1)
    for (let j = y.length - 1; j >= 0; j -= 1)
      best[i * wide + j] = x[i] === y[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  const lines: Line[] = [];
  let i = 0, j = 0;
  while (i < x.length || j < y.length) {
    if (i < x.length && j < y.length && x[i] === y[j]) { lines.push({ kind: "same", text: x[i] ?? "" }); i += 1; j += 1; }
    else if (j >= y.length || (i < x.length && at(i + 1, j) >= at(i, j + 1))) { lines.push({ kind: "del", text: x[i] ?? "" }); i += 1; }
    else { lines.push({ kind: "add", text: y[j] ?? "" }); j += 1; }
  }
  return lines;
}

function fold(lines: Line[]): Line[] {
  const near = lines.map((_, at) => lines.slice(Math.max(0, at - 3), at + 4).some(({ kind }) => kind !== "same"));
  const shown: Line[] = [];
  lines.forEach((line, at) => {
    if (near[at]) shown.push(line);
    else if (shown.at(-1)?.kind !== "gap") shown.push({ kind: "gap", text: "⋯" });
  });
  return shown.some(({ kind }) => kind !== "gap") ? shown : [];
}
