// The protocol's own exam, against the server that EVERYTOKEN_URL names.
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({
  baseUrl: process.env.EVERYTOKEN_URL,
  longPollTimeoutMs: Number(process.env.EVERYTOKEN_LONG_POLL_MS),
});
