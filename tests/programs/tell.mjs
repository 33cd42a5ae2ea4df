// Loaded before a program: how it ends is told as tests/programs/run.py tells it.

const tell = (error, code) => process.stdout.write(`\x1e${JSON.stringify([error, code])}\n`);

/** Where the programs of docs/clients.md put what they have read. */
globalThis.show = (text) => process.stdout.write(text);

process.on("uncaughtException", (error) => {
  console.error(error);
  process.removeAllListeners("exit");
  tell(error.constructor.name, typeof error.code === "string" ? error.code : null);
  process.exit(1);
});
process.on("exit", () => tell(null, null));
