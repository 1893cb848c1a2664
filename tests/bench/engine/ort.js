// The peer of the engine's benchmark: ONNX Runtime on the CPU, all optimisations, driven by the same lines
// as bench_network.c.
// usage: node ort.js MODULE MODEL.onnx THREADS. Reads commands, one a line, answers with one line each.
'use strict';
const fs = require('fs');
const ort = require(process.argv[2]);
const [model, threads] = [process.argv[3], Number(process.argv[4])];
let session, feeds, result;

function memory(key) {
  return Number(fs.readFileSync('/proc/self/status', 'latin1').match(new RegExp(`${key}:\\s+(\\d+)`))[1]);
}

// As fill_input of bench_network.c.
function input(dims) {
  const data = new Float32Array(dims.reduce((a, b) => a * b, 1));
  let seed = 12345;
  for (let i = 0; i < data.length; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    data[i] = (seed >>> 8) / 8388608 - 1;
  }
  return new ort.Tensor('float32', data, dims);
}

async function run() {
  const start = process.hrtime.bigint();
  result = await session.run(feeds);
  return Number(process.hrtime.bigint() - start) / 1e3;
}

async function answer(line) {
  const [command, argument] = line.split(' ');
  if (command === 'load') {
    const before = memory('VmRSS'), start = process.hrtime.bigint();
    session = await ort.InferenceSession.create(model, {
      executionProviders: ['cpu'], graphOptimizationLevel: 'all', executionMode: 'sequential',
      intraOpNumThreads: threads, interOpNumThreads: 1,
    });
    const dims = session.inputMetadata[0].shape.map((d) => (typeof d === 'number' && d > 0 ? d : 1));
    const loaded = Number(process.hrtime.bigint() - start) / 1e3;
    feeds = {[session.inputNames[0]]: input(dims)};
    const first = await run();
    return `${loaded} ${loaded + first} ${before}`;
  }
  if (command === 'run') {
    const times = [];
    for (let i = 0; i < Number(argument); i++) times.push(await run());
    return times.join(' ');
  }
  if (command === 'output') {
    const data = result[session.outputNames[0]].data;
    fs.writeFileSync(argument, Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    return 'ok';
  }
  return `${memory('VmHWM')}`;
}

(async () => {
  for await (const line of require('readline').createInterface({input: process.stdin})) {
    process.stdout.write((await answer(line)) + '\n');
  }
})();
