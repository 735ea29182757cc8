// Validates Argo objects strictly: node check.mjs FOLDER < objects.json prints a JSON list of what is wrong.
// The validators of @kubernetes-models/argo-workflows check types, required fields and enums, and read exactly the fields
// that they know. So whatever field of an object was never read is one that Argo does not have.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const schemas = join(process.argv[2], "node_modules/@kubernetes-models/argo-workflows/_schemas");
const prefix = "ComGithubArgoprojArgoWorkflowsV4PkgApisWorkflowV1alpha1";

function watched(value, path, watchers) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item, index) => watched(item, `${path}[${index}]`, watchers));
  const read = new Set();
  const inner = {};
  watchers.push({ path, keys: Object.keys(value), read });
  for (const [key, item] of Object.entries(value)) inner[key] = watched(item, `${path}.${key}`, watchers);
  return new Proxy(inner, {
    get(target, key) {
      read.add(key);
      return target[key];
    },
  });
}

const problems = [];
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${object.kind} ${object.metadata?.name}`;
  const { validate } = await import(pathToFileURL(join(schemas, `${prefix}${object.kind}.js`)));
  const watchers = [];
  if (!validate(watched(object, "", watchers))) {
    for (const error of validate.errors) {
      const allowed = error.params?.allowedValues ?? error.params?.type ?? error.params?.missingProperty ?? "";
      problems.push(`${name}: ${error.instancePath}: ${error.keyword} ${allowed}`);
    }
  }
  const unknown = [];
  for (const { path, keys, read } of watchers) {
    if (unknown.some((other) => path.startsWith(other))) continue;
    for (const key of keys) if (!read.has(key)) unknown.push(`${path}.${key}`);
  }
  for (const field of unknown) problems.push(`${name}: unknown field ${field.slice(1)}`);
}
console.log(JSON.stringify(problems));
