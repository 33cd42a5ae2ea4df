// What may go wrong, by the stable codes that the gateway uses too.

/** Every failure this package reports on purpose. `code` is stable and in kebab-case; the message is for people. */
export class EverytokenError extends Error {
  override readonly name = "EverytokenError";

  constructor(
    readonly code: string,
    message: string,
    /** Whether the same call may succeed later. */
    readonly retryable = true,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** The bytes ended without an end mark: an end is a claim. */
export const truncated = () =>
  new EverytokenError("upstream-truncated", "the answer ended without its end mark");

/** What a `fetch` or a body throws is a connection that could not be made or has broken. */
export const asError = (cause: unknown) =>
  cause instanceof EverytokenError
    ? cause
    : new EverytokenError("upstream-connect", `no connection: ${(cause as Error)?.message ?? cause}`, true, { cause });

/** A streamed request was answered with something else. */
export const notAnEventStream = () => new EverytokenError("not-an-event-stream", "the answer is no event stream");

/** Another attempt says something else. */
export const diverged = () => new EverytokenError("upstream-diverged", "the repeated answer differs from what was delivered");
