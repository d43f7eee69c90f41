import { defineConfig } from "vitest/config";

// Slow machines need more than vitest's 5 seconds for tests over real connections.
export default defineConfig({ test: { testTimeout: 30_000 } });
