// Every verb of the npm package dicomweb-client against a server; what comes back is written to files for a test to judge.
//
// Standard input: {url, authorization, packages, folder, instances: [{path, study, series, instance, num_frames, frames}]}
// where `frames` is the media type and transfer syntax to ask frames in. Standard output: {verbs, results, problems}.

import { createRequire } from 'node:module';
import { readFile, writeFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';

import { XMLHttpRequest } from './request.mjs';

globalThis.XMLHttpRequest = XMLHttpRequest;
// Standard output is for the answer; the package writes a line there for each thumbnail.
console.debug = () => {};

// The package refuses media types for datasets, so a page that wants them as stored brings its own request.
class OriginalRequest extends XMLHttpRequest {
  setRequestHeader(name, value) {
    super.setRequestHeader(name, name === 'Accept' ? `${value}; transfer-syntax=*` : value);
  }
}
const original = () => ({ instance: new OriginalRequest() });

const plan = JSON.parse(await text(process.stdin));
const { DICOMwebClient } = createRequire(`${plan.packages}/`)('dicomweb-client').api;
const options = { url: plan.url, verbose: false, headers: { Authorization: plan.authorization } };
const client = new DICOMwebClient(options);
const single = new DICOMwebClient({ ...options, singlepart: true });
const wado = new DICOMwebClient({ ...options, wadoURLPrefix: 'wado' });

const results = [];
const problems = [];
const used = new Set();
let numFiles = 0;

const keep = async bytes => {
  const path = `${plan.folder}/${numFiles++}`;
  await writeFile(path, new Uint8Array(bytes));
  return path;
};

// Calls a verb and records what came: files for bytes, values for the rest.
const call = async (about, verb, options, by = client) => {
  used.add(verb);
  try {
    const answer = await by[verb](options);
    if (answer instanceof ArrayBuffer) results.push({ about, verb, files: [await keep(answer)] });
    else if (Array.isArray(answer) && answer.length && answer.every(part => part instanceof ArrayBuffer)) {
      const files = [];
      for (const part of answer) files.push(await keep(part));
      results.push({ about, verb, files, type: answer[0].contentType, syntax: answer[0].transferSyntaxUID });
    } else results.push({ about, verb, value: answer });
    return answer;
  } catch (error) {
    problems.push({ about, verb, status: error.status ?? null, message: error.message });
    return null;
  }
};

// Runs `work` for all items, a few at a time.
const each = async (items, work) => {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: 4 }, worker));
};

const studies = new Map();
for (const instance of plan.instances) {
  if (!studies.has(instance.study)) studies.set(instance.study, new Map());
  const series = studies.get(instance.study);
  if (!series.has(instance.series)) series.set(instance.series, []);
  series.get(instance.series).push(instance);
}
const uids = ({ study, series, instance }) => ({ studyInstanceUID: study, seriesInstanceUID: series, sopInstanceUID: instance });

await each(studies, async ([study, series]) => {
  const files = [...series.values()].flat();
  const datasets = [];
  for (const { path } of files) datasets.push(await readFile(path));
  // The whole study in one request, to its own address.
  await call(study, 'storeInstances', { datasets, studyInstanceUID: study });
});

await call('all', 'searchForStudies', { queryParams: { limit: 5000 } });
await call('all', 'searchForSeries', { queryParams: { limit: 5000 } });
await call('all', 'searchForInstances', { queryParams: { limit: 5000 } });

await each(studies, async ([study, ofStudy]) => {
  await call(study, 'searchForSeries', { studyInstanceUID: study });
  await call(study, 'retrieveStudyMetadata', { studyInstanceUID: study });
  await call(study, 'retrieveStudy', { studyInstanceUID: study });
  for (const series of ofStudy.keys()) {
    const of = { studyInstanceUID: study, seriesInstanceUID: series };
    const about = `${study}/${series}`;
    await call(about, 'searchForInstances', of);
    await call(about, 'retrieveSeriesMetadata', of);
    await call(about, 'retrieveSeries', { ...of, request: original() });
  }
});

await each(plan.instances, async instance => {
  const of = uids(instance);
  const about = instance.path;
  await call(about, 'retrieveInstance', { ...of, request: original() });
  const metadata = await call(about, 'retrieveInstanceMetadata', of);
  if (instance.num_frames) {
    const frameNumbers = Array.from({ length: instance.num_frames }, (_, index) => index + 1);
    await call(about, 'retrieveInstanceFrames', { ...of, frameNumbers, mediaTypes: [instance.frames] });
  }
  if (instance.pictures) {
    const mediaTypes = [{ mediaType: 'image/png' }];
    await call(about, 'retrieveInstanceRendered', { ...of, mediaTypes });
    await call(about, 'retrieveInstanceThumbnail', { ...of, mediaTypes: [{ mediaType: 'image/jpeg' }] });
    await call(about, 'retrieveInstanceFramesRendered', { ...of, frameNumbers: [1], mediaTypes });
    await call(about, 'retrieveInstanceFramesThumbnail', { ...of, frameNumbers: [1], mediaTypes: [{ mediaType: 'image/jpeg' }] });
  }
  for (const [tag, element] of Object.entries(metadata?.[0] ?? {})) {
    if (!element.BulkDataURI) continue;
    const bulk = { BulkDataURI: element.BulkDataURI };
    if (tag === '7FE00010') {
      if (instance.is_native) {
        const headers = { Range: 'bytes=2-5', Accept: 'application/octet-stream' };
        await call(`${about} ${tag} part`, 'retrieveBulkData', { ...bulk, headers }, single);
      }
    } else {
      await call(`${about} ${tag}`, 'retrieveBulkData', bulk);
      await call(`${about} ${tag} part`, 'retrieveBulkData', { ...bulk, headers: { Range: 'bytes=2-5' } }, single);
    }
  }
});

// What is addressed by a URL that the client makes is fetched as a page would.
for (const instance of plan.instances.slice(0, 20)) {
  used.add('buildInstanceWadoURIUrl');
  const url = wado.buildInstanceWadoURIUrl(uids(instance));
  const answer = await fetch(url, { headers: options.headers });
  results.push({ about: instance.path, verb: 'buildInstanceWadoURIUrl', files: [await keep(await answer.arrayBuffer())] });
}

await call('nothing', 'retrieveInstance', { studyInstanceUID: '1.2.3', seriesInstanceUID: '1.2.4', sopInstanceUID: '1.2.5' });

const verbs = Object.getOwnPropertyNames(DICOMwebClient.prototype).filter(name => /^(search|retrieve|store|build)/.test(name));
process.stdout.write(JSON.stringify({ unused: verbs.filter(verb => !used.has(verb)), results, problems }));
