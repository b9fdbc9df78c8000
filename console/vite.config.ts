// How the console is built: modules with hashed names, compressed once, and the table of files that gateways are compiled with.
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

/** The component library speaks some thirty languages; the console speaks one. */
const oneLanguage: Plugin = {
  name: "one-language",
  enforce: "pre",
  load(id) {
    return /[\\/]intl[\\/].*[\\/](?!en-US)[a-z]{2}-[A-Z]{2}\.m?js$/.test(id) ? "export default {};" : null;
  },
};

const KINDS: Record<string, string> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

/** Writes `dist` as a gateway embeds it: each file but the index compressed, and `files.rs`. */
const embedded: Plugin = {
  name: "embedded",
  enforce: "post",
  generateBundle: {
    order: "post",
    handler(_, bundle) {
      const dist = process.env.CONSOLE_DIST ?? new URL("./dist/", import.meta.url).pathname;
      rmSync(dist, { recursive: true, force: true });
      mkdirSync(`${dist}/assets`, { recursive: true });
      const rows = Object.values(bundle).map((file) => {
        const text = Buffer.from(file.type === "chunk" ? file.code : file.source);
        const compressed = file.fileName !== "index.html";
        const name = compressed ? `${file.fileName}.gz` : file.fileName;
        const bytes = compressed ? gzipSync(text, { level: 9 }) : text;
        writeFileSync(`${dist}/${name}`, bytes);
        const digest = createHash("sha256").update(text).digest("base64url").slice(0, 22);
        const kind = KINDS[file.fileName.split(".").at(-1) ?? ""];
        if (kind === undefined) throw new Error(`of which kind is ${file.fileName}?`);
        return { path: file.fileName, row: `    Asset {
        path: ${JSON.stringify(file.fileName)},
        media_type: ${JSON.stringify(kind)},
        digest: ${JSON.stringify(digest)},
        bytes: include_bytes!(${JSON.stringify(name)}),
        compressed: ${compressed},
    },\n` };
      });
      rows.sort((one, other) => (one.path < other.path ? -1 : 1));
      const table = rows.map(({ row }) => row).join("");
      writeFileSync(`${dist}/files.rs`, `/// The files, by path.\npub static FILES: &[Asset] = &[\n${table}];\n`);
    },
  },
};

export default defineConfig({
  base: "/console/",
  plugins: [oneLanguage, react(), embedded],
  build: {
    write: false,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
});
