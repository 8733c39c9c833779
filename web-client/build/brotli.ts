import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';

/** What is worth compressing: pictures and fonts are already. */
const TEXT = /\.(?:js|css|html|svg|json|wasm)$/;

/** A file as the server sends it to browsers that read brotli, which all do that this app supports. */
export function brotli(plain: Uint8Array): Buffer {
  return brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length } });
}

/** Writes `FILE.br` beside each text file of a folder: compressing so well takes seconds, which a server that starts does not have. */
export function compress(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (!entry.isFile() || !TEXT.test(file)) continue;
    const plain = readFileSync(file);
    const small = brotli(plain);
    if (small.length < plain.length) writeFileSync(`${file}.br`, small);
  }
}
