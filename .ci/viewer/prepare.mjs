// Makes the folder that `viewer.dist_dir` names out of the published package's `dist` folder.
// Usage: node prepare.mjs DIST OUT
//
// The package is built for the root of a site and for pages without a content security policy. This moves it below
// /viewer/ and takes the inline scripts out; the program itself stays as published:
//   - the base path in the bundles' loaders, in style sheets and in the page;
//   - inline scripts and the service worker (which only loads another site's script) leave the page: what they set is
//     set by app-config.js, which the server adds;
//   - source maps, and what a viewer for one archive has no use for, stay away: sign-in through other sites, a second
//     copy of a neural network runtime whose models lie on other sites;
//   - functions that a library of it makes of text, which the policy forbids, are made here and lie in a file (see
//     `madeFunctions`);
//   - text and programs are written compressed only, as NAME.gz, which is how the server keeps and sends them.
// A package that looks otherwise than expected is refused, so that a new version is looked at first.

import { gzipSync } from 'node:zlib';
import fs from 'node:fs';
import path from 'node:path';

const BASE = '/viewer/';
const LOADER = '__webpack_require__.p = "/";';
const MADE = 'made-functions.js';
const LEFT_OUT_FOLDERS = ['ort'];
const LEFT_OUT = new Set([
  '_headers', '_redirects', 'serve.json', 'app-config.js', 'google.js', 'sw.js', 'init-service-worker.js',
  'silent-refresh.html', 'oidc-client.min.js', 'polyfill.min.js', 'es6-shim.min.js', 'customizations/index.html',
]);
const COMPRESSED = new Set(['.js', '.css', '.html', '.json', '.jsonc', '.wasm', '.svg', '.xml', '.webmanifest']);

const [from, to] = process.argv.slice(2);
if (!from || !to) throw new Error('usage: node prepare.mjs DIST OUT');

function expect(condition, text) {
  if (!condition) throw new Error(`this package is not as expected: ${text}`);
}

function files(folder, below = '') {
  return fs.readdirSync(path.join(folder, below), { withFileTypes: true }).flatMap(entry => {
    const name = below ? `${below}/${entry.name}` : entry.name;
    expect(entry.isDirectory() || entry.isFile(), `${name} is neither a file nor a folder`);
    return entry.isDirectory() ? files(folder, name) : [name];
  });
}

function page(html) {
  const count = pattern => (html.match(pattern) || []).length;
  const worker = /<script [^>]*src="\/init-service-worker\.js"><\/script>/;
  const config = /<script [^>]*src="\/app-config\.js"><\/script>/;
  const inline = /<script>[^<]*<\/script>/g;
  expect(count(worker) === 1 && count(config) === 1, 'the page does not load app-config.js and a service worker');
  expect(count(inline) === 2, 'the page has not just two inline scripts');
  const moved = html
    .replace(worker, '')
    .replace(inline, '')
    .replace(config, `<script src="/${MADE}"></script><script src="/app-config.js"></script>`)
    .replace('rel="manifest"', 'rel="manifest" crossorigin="use-credentials"')
    .replace(/ (href|src|content)="\/(?!\/)/g, ` $1="${BASE}`);
  expect(!/<script(?![^>]* src=)/.test(moved) && !/ on[a-z]+=/.test(moved), 'the page still has inline scripts');
  expect(!/="\/(?!viewer\/)/.test(moved), 'the page still has addresses outside its folder');
  return moved;
}

function program(name, text) {
  const moved = text.replaceAll(LOADER, `__webpack_require__.p = "${BASE}";`);
  expect(!/__webpack_require__\.p = "\/";/.test(moved), `${name} has another loader`);
  return moved;
}

// The library for arrays of several dimensions writes a class for each kind of element and number of dimensions as text
// and compiles it where it is first needed. Its generator is taken out of the bundle and run here for what a viewer
// meets; the page finds the finished function by a hash of the text. Everything else that asks for a function made of
// text still fails.
const ELEMENTS = ['uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32', 'float32', 'float64', 'uint8_clamped', 'array'];
const DIMENSIONS = [-1, 0, 1, 2, 3];
const GENERATOR = /function compileConstructor\(dtype, dimension\) \{[^]*?return procedure\(CACHED_CONSTRUCTORS\[dtype\], order\);?\s*\}/g;

function hash(text) {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, 2654435761);
    b = Math.imul(b ^ unit, 1597334677);
  }
  return `${text.length}.${(a >>> 0).toString(36)}.${(b >>> 0).toString(36)}`;
}

const made = new Map();
function madeFunctions(text) {
  for (const [generator] of text.matchAll(GENERATOR)) {
    const constructors = Object.fromEntries(ELEMENTS.map(name => [name, [null]]));
    const iota = length => Array.from({ length }, (_, index) => index);
    const record = function (...parts) {
      made.set(hash(parts.join('\0')), `function (${parts.slice(0, -1).join(', ')}) {\n${parts.at(-1)}\n}`);
      return () => () => {};
    };
    const scope = ['Function', 'iota', 'order', 'CACHED_CONSTRUCTORS'];
    const compile = new Function(...scope, `${generator}; return compileConstructor;`)(record, iota, null, constructors);
    for (const name of ELEMENTS) for (const dimension of DIMENSIONS) compile(name, dimension);
  }
}

function madeFile() {
  const entries = [...made].map(([key, text]) => `[${JSON.stringify(key)}, ${text}]`);
  return `(() => {
const made = new Map([${entries.join(',\n')}]);
${hash}
const native = window.Function;
function Function(...parts) {
  return made.get(hash(parts.join('\\0'))) ?? native(...parts);
}
Function.prototype = native.prototype;
window.Function = Function;
})();
`;
}

function write(name, content) {
  const target = path.join(to, name);
  fs.mkdirSync(path.dirname(target), { recursive: true });
  const isCompressed = COMPRESSED.has(path.extname(name));
  fs.writeFileSync(isCompressed ? `${target}.gz` : target, isCompressed ? gzipSync(content, { level: 9 }) : content);
}

let numLoaders = 0;
for (const name of files(from)) {
  if (LEFT_OUT.has(name) || name.endsWith('.map') || LEFT_OUT_FOLDERS.includes(name.split('/')[0])) continue;
  let content = fs.readFileSync(path.join(from, name));
  const kind = path.extname(name);
  const isTop = !name.includes('/');
  if (name === 'index.html') {
    content = Buffer.from(page(content.toString()));
  } else if (isTop && kind === '.js') {
    const text = content.toString();
    if (text.includes(LOADER)) numLoaders += 1;
    madeFunctions(text);
    content = Buffer.from(program(name, text));
  } else if (isTop && kind === '.css') {
    content = Buffer.from(content.toString().replaceAll('url(/', `url(${BASE}`));
  } else if (name === 'manifest.json') {
    content = Buffer.from(content.toString().replaceAll('"/assets/', `"${BASE}assets/`));
  }
  write(name, content);
}
expect(made.size >= ELEMENTS.length * DIMENSIONS.length, 'the array library makes its functions otherwise');
write(MADE, Buffer.from(madeFile()));
// The page's bundle and the decoders' worker at least; without the latter no compressed frame is ever shown.
expect(numLoaders >= 2, 'fewer loaders than the page and its workers have');
