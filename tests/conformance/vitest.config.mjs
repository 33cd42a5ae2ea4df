import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["durable.test.mjs"],
    // Forks and subscriptions are left out: see docs/streams.md.
    testNamePattern: /^(?!Fork - |Reserved subscription APIs)/,
    testTimeout: 30_000,
  },
});
