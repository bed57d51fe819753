// It submits an operation of which one desktop fails, retries the failure, and reads the
// result, with the types that openapi-typescript made.
import createClient from "openapi-fetch";
import type { components, paths } from "./openapi.js";

declare const process: { env: Record<string, string | undefined> };

const client = createClient<paths>({
  baseUrl: process.env.DETACHD_SERVER,
  headers: { Authorization: `Bearer ${process.env.DETACHD_API_KEY}` },
});

// must returns the answer, or throws the problem.
function must<T>({ data, error }: { data?: T; error?: components["schemas"]["Problem"] }): T {
  if (error !== undefined || data === undefined) throw new Error(`${error?.code}: ${error?.detail}`);
  return data;
}

function check(ok: boolean, what: unknown): asserts ok {
  if (!ok) throw new Error(JSON.stringify(what));
}

const bad = "38a2aed1-cdca-43dd-9ece-10ce83b1d8a2";
const request = {
  params: { header: { "Idempotency-Key": "from-typescript" } },
  body: { project: "hq", desktops: ["f5057fee-4c3e-4459-82dd-21250b729601", bad] },
};
const created = must(await client.POST("/v1/operations", request));
check("id" in created, created); // else it is the answer to validate_only
const again = await client.POST("/v1/operations", request);
check(again.response.headers.get("Idempotent-Replayed") === "true", again);

const path = { id: created.id };
while (!must(await client.GET("/v1/operations/{id}", { params: { path, query: { access_removed: false } } })).done);

const filter = { project: "hq", code: "WKS.00010110" };
const failures = must(await client.GET("/v1/failures", { params: { query: filter } }));
check(failures.total === 1 && failures.items[0]?.desktop_id === bad, failures);

const begun = must(await client.POST("/v1/redrives", { body: { filter } }));
check("id" in begun && begun.matched === 1, begun);
for (let ended = false; !ended; ) {
  const redrive = must(await client.GET("/v1/redrives/{id}", { params: { path: { id: begun.id } } }));
  ended = redrive.ended_at !== undefined && redrive.retried === 1;
}

const none = await client.GET("/v1/operations/{id}", { params: { path: { id: "00000000000000000000" } } });
check(none.error?.code === "operation_not_found" && none.error.type === "/docs#problem-operation_not_found", none.error);
console.log("done");
