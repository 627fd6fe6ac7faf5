// What the composition promises: the same bytes for the same schemas, and a message that names
// the file when it cannot compose. Run with `npm test`.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const program = join(dirname(fileURLToPath(import.meta.url)), "compose.mjs");
const federation =
  'extend schema @link(url: "https://specs.apollo.dev/federation/v2.5", import: ["@key"])\n';
const identity = `${federation}type Query { me: Member }
type Member @key(fields: "id") { id: ID! }`;
const passes = `${federation}type Member @key(fields: "id") { id: ID! passes: [String!]! }`;

function within(context, files) {
  const folder = mkdtempSync(join(tmpdir(), "compose-"));
  context.after(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const run = (...flags) => {
    const done = spawnSync(process.execPath, [program, ...flags, folder], { encoding: "utf8" });
    return { code: done.status, said: done.stdout + done.stderr };
  };
  return { run, file: (name) => join(folder, name) };
}

test("the same schemas give the same bytes, whatever the order within them", (context) => {
  const files = { "identity.graphql": identity, "passes.graphql": passes };
  const { run, file } = within(context, files);
  assert.equal(run().code, 0);
  const first = readFileSync(file("supergraph.graphql"), "utf8");
  assert.match(first, /IDENTITY @join__graph\(name: "identity"/);
  writeFileSync(file("identity.graphql"), identity.split("\n").reverse().join("\n"));
  assert.equal(run().code, 0);
  assert.equal(readFileSync(file("supergraph.graphql"), "utf8"), first);
  assert.equal(run("--check").code, 0);
});

test("a supergraph that is missing or old fails the check and is left alone", (context) => {
  const { run, file } = within(context, { "identity.graphql": identity });
  assert.match(run("--check").said, /supergraph.graphql is missing/);
  writeFileSync(file("supergraph.graphql"), "old");
  const checked = run("--check");
  assert.equal(checked.code, 1);
  assert.match(checked.said, /make schema/);
  assert.equal(readFileSync(file("supergraph.graphql"), "utf8"), "old");
});

test("what cannot be composed is said by file or by code", (context) => {
  const broken = within(context, { "identity.graphql": "type Query {" });
  assert.match(broken.run().said, /identity\.graphql:1:\d+/);
  const clash = `${federation}type Query { me: String! }\ntype Member { id: Int }`;
  const refused = within(context, { "identity.graphql": identity, "passes.graphql": clash });
  assert.equal(refused.run().code, 1);
  assert.match(refused.run().said, /[A-Z_]+: /);
  assert.match(within(context, {}).run().said, /no subgraph schema/);
  assert.match(within(context, { "Bad-Name.graphql": identity }).run().said, /lower-case/);
  assert.match(within(context, { "identity.graphql": identity }).run("--what").said, /--what/);
});

// Directives of authorisation have been bypassed by way of interfaces, fragments and `@requires`
// before: here each subgraph decides for itself, so that there is nothing to bypass.
test("no field's protection rests on a directive of the graph", () => {
  const folder = join(dirname(program), "..");
  const files = readdirSync(folder).filter((name) => name.endsWith(".graphql"));
  assert.ok(files.includes("supergraph.graphql") && files.length > 4, files.join());
  for (const name of files) {
    const text = readFileSync(join(folder, name), "utf8");
    assert.doesNotMatch(text, /@(authenticated|policy)\b(?!")|@requiresScopes\(/, name);
  }
});
