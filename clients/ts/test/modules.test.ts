import { readdirSync, readFileSync } from "node:fs";

import { expect, test } from "vitest";

/** Every module that a source file imports, directly or through others of ours. */
function importsOf(file: URL, seen = new Map<string, string[]>()): string[] {
  if (!seen.has(file.href)) {
    const found = [...readFileSync(file, "utf8").matchAll(/\bfrom "([^"]+)";/g)].map(([, name]) => name!);
    seen.set(file.href, found);
    for (const name of found.filter((name) => name.startsWith("."))) {
      importsOf(new URL(name.replace(/\.js$/, ".ts"), file), seen);
    }
  }
  return [...seen.values()].flat();
}

test("the client for browsers imports nothing of Node", () => {
  const forNode = (name: string) => name.startsWith("node:") || name === "@connectrpc/connect-node";
  expect(importsOf(new URL("../src/index.ts", import.meta.url)).filter(forNode)).not.toEqual([]);
  expect(importsOf(new URL("../src/web.ts", import.meta.url)).filter(forNode)).toEqual([]);
});

test.each(["auth", "common", "ml", "scraper"])("the module '%s' offers every contract of its package", (name) => {
  const generated = readdirSync(new URL(`../src/gen/flare/${name}/v1`, import.meta.url)).sort();
  const lines = readFileSync(new URL(`../src/contracts/${name}.ts`, import.meta.url), "utf8").trim().split("\n");
  const expected = generated.map((file) => `export * from "../gen/flare/${name}/v1/${file.replace(/\.ts$/, ".js")}";`);
  expect(lines).toEqual(expected);
});
