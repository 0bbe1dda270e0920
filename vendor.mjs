// Copies the files of npm packages that pages load to static/vendor/. Run by `npm run vendor`.
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const target = join(root, "static", "vendor");

// [from below node_modules, to below static/vendor]
const files = [
  ["@novnc/novnc/core", "novnc/core"],
  ["@novnc/novnc/vendor", "novnc/vendor"],
  ["@novnc/novnc/LICENSE.txt", "novnc/LICENSE.txt"],
  ["@xterm/xterm/lib/xterm.mjs", "xterm/xterm.mjs"],
  ["@xterm/xterm/css/xterm.css", "xterm/xterm.css"],
  ["@xterm/xterm/LICENSE", "xterm/LICENSE"],
  ["@xterm/addon-fit/lib/addon-fit.mjs", "xterm/addon-fit.mjs"],
  ["@fontsource-variable/inter/files/inter-latin-wght-normal.woff2", "inter/inter-latin.woff2"],
  ["@fontsource-variable/inter/files/inter-latin-ext-wght-normal.woff2", "inter/inter-latin-ext.woff2"],
  ["@fontsource-variable/inter/LICENSE", "inter/LICENSE"],
];

rmSync(target, { recursive: true, force: true });
for (const [from, to] of files) {
  mkdirSync(dirname(join(target, to)), { recursive: true });
  cpSync(join(root, "node_modules", from), join(target, to), { recursive: true });
}
console.log(`copied ${files.length} entries to static/vendor/`);
