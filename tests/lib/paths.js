import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository. */
export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const TARGET = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, 'target');
/** The binary under test. */
export const SERVER = process.env.SERVER_BINARY ?? path.join(TARGET, 'debug/conclave');
export const XTASK = path.join(TARGET, 'debug/xtask');
export const PYTHON = process.env.PYTHON ?? path.join(TARGET, 'venv/bin/python');
/** The one that workers of agents run in. */
export const PYTHON_AGENTS = process.env.PYTHON_AGENTS ?? path.join(TARGET, 'venv-agents/bin/python');
/** A crowd on our own client. */
export const CROWD = path.join(TARGET, 'debug/examples/crowd');
/** Participants on LiveKit's Go SDK. */
export const GO = path.join(TARGET, 'go/participant');
/** Pictures of the product, taken by tests. */
export const SCREENS = path.join(TARGET, 'screens');
/** Logs of servers and figures of runs. */
export const OUTPUT = path.join(TARGET, 'conformance');

mkdirSync(SCREENS, { recursive: true });
mkdirSync(OUTPUT, { recursive: true });
