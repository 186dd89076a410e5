// A grpc-js client that runs the official interop test cases. It prints a document with the
// name of each, and null where all was well, or what was not.
// Arguments: testing.proto, the address of the server, and how many calls make a soak.
"use strict";

const assert = require("node:assert/strict");
const grpc = require("@grpc/grpc-js");
const { loadTesting } = require("./official.js");

const [proto, address, soakCalls] = process.argv.slice(2);
const { TestService, UnimplementedService } = loadTesting(proto);

const REQUEST_SIZES = [27182, 8, 1828, 45904];
const RESPONSE_SIZES = [31415, 9, 2653, 58979];
const LARGE_RESPONSE = 314159;
const LARGE_REQUEST = { response_size: LARGE_RESPONSE, payload: { body: Buffer.alloc(271828) } };
const SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
const GZIP = { "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip };

const within = (ms = 20_000) => ({ deadline: Date.now() + ms });

function connect(options = {}, Service = TestService) {
  return new Service(address, grpc.credentials.createInsecure(), options);
}

const client = connect();

// Makes a unary call; the promise has the response, and the metadata around it.
function unary(method, request, { on = client, metadata = new grpc.Metadata() } = {}) {
  return new Promise((resolve, reject) => {
    const reply = { initial: null, trailing: null };
    const call = on[method](request, metadata, within(), (error, response) => {
      if (error) reject(error);
      else reply.response = response;
    });
    call.on("metadata", (initial) => (reply.initial = initial));
    call.on("status", ({ metadata: trailing }) => resolve({ ...reply, trailing }));
  });
}

// Reads a stream to its end; the promise has the messages and the status.
function drained(call) {
  return new Promise((resolve) => {
    const messages = [];
    let initial = null;
    call.on("metadata", (metadata) => (initial = metadata));
    call.on("data", (message) => messages.push(message));
    call.on("error", () => {}); // the status says what it is
    call.on("status", (status) => resolve({ messages, initial, status }));
  });
}

async function failure(promise) {
  return promise.then(() => assert.fail("the status was OK"), (error) => error);
}

const asksFor = (size, payload) => ({
  response_parameters: [{ size }],
  payload: { body: Buffer.alloc(payload) },
});

const sizes = (messages) => messages.map(({ payload }) => payload.body.length);

async function large(options) {
  const { response } = await unary("UnaryCall", LARGE_REQUEST, options);
  assert.equal(response.payload.body.length, LARGE_RESPONSE);
}

function echoed() {
  const metadata = new grpc.Metadata();
  metadata.set("x-grpc-test-echo-initial", "test_initial_metadata_value");
  metadata.set("x-grpc-test-echo-trailing-bin", Buffer.from([0xab, 0xab, 0xab]));
  return metadata;
}

function assertEchoed(initial, trailing) {
  assert.deepEqual(initial.get("x-grpc-test-echo-initial"), ["test_initial_metadata_value"]);
  const [bytes] = trailing.get("x-grpc-test-echo-trailing-bin");
  assert.deepEqual([...bytes], [0xab, 0xab, 0xab]);
}

// Sends messages on StreamingInputCall, and resolves to the sum that comes back.
function upload(messages, on = client) {
  return new Promise((resolve, reject) => {
    const call = on.StreamingInputCall(within(), (error, response) => {
      if (error) reject(error);
      else resolve(response.aggregated_payload_size);
    });
    for (const message of messages) call.write(message);
    call.end();
  });
}

// A channel with one algorithm for all calls is how grpc-js compresses.
async function withCompression(use) {
  const compressing = connect(GZIP);
  try {
    await use(compressing);
  } finally {
    compressing.close();
  }
}

const cases = {
  async empty_unary() {
    const { response } = await unary("EmptyCall", {});
    assert.deepEqual({ ...response }, {});
  },

  large_unary: () => large(),

  async client_streaming() {
    const sum = await upload(REQUEST_SIZES.map((size) => ({ payload: { body: Buffer.alloc(size) } })));
    assert.equal(sum, 74922);
  },

  async server_streaming() {
    const request = { response_parameters: RESPONSE_SIZES.map((size) => ({ size })) };
    const { messages, status } = await drained(client.StreamingOutputCall(request, within()));
    assert.deepEqual(sizes(messages), RESPONSE_SIZES);
    assert.equal(status.code, grpc.status.OK);
  },

  async ping_pong() {
    const call = client.FullDuplexCall(within());
    let turn = 0;
    const next = () => {
      if (turn === RESPONSE_SIZES.length) call.end();
      else call.write(asksFor(RESPONSE_SIZES[turn], REQUEST_SIZES[turn]));
      turn += 1;
    };
    call.on("data", next);
    next();
    const { messages, status } = await drained(call);
    assert.deepEqual(sizes(messages), RESPONSE_SIZES);
    assert.equal(status.code, grpc.status.OK);
  },

  async empty_stream() {
    const call = client.FullDuplexCall(within());
    call.end();
    const { messages, status } = await drained(call);
    assert.deepEqual([messages, status.code], [[], grpc.status.OK]);
  },

  async timeout_on_sleeping_server() {
    const call = client.FullDuplexCall(within(1));
    call.write({ payload: { body: Buffer.alloc(27182) } });
    const { status } = await drained(call);
    assert.equal(status.code, grpc.status.DEADLINE_EXCEEDED);
  },

  async cancel_after_begin() {
    const code = await new Promise((resolve) => {
      const call = client.StreamingInputCall(within(), (error) => resolve(error?.code));
      call.cancel();
    });
    assert.equal(code, grpc.status.CANCELLED);
  },

  async cancel_after_first_response() {
    const call = client.FullDuplexCall(within());
    call.on("data", () => call.cancel());
    call.write(asksFor(31415, 27182));
    const { messages, status } = await drained(call);
    assert.deepEqual(sizes(messages), [31415]);
    assert.equal(status.code, grpc.status.CANCELLED);
  },

  async status_code_and_message() {
    const response_status = { code: 2, message: "test status message" };
    const error = await failure(unary("UnaryCall", { response_status }));
    assert.deepEqual([error.code, error.details], [2, "test status message"]);
    const call = client.FullDuplexCall(within());
    call.write({ response_status });
    call.end();
    const { status } = await drained(call);
    assert.deepEqual([status.code, status.details], [2, "test status message"]);
  },

  async special_status_message() {
    const asked = { response_status: { code: 2, message: SPECIAL } };
    const error = await failure(unary("UnaryCall", asked));
    assert.deepEqual([error.code, error.details], [2, SPECIAL]);
  },

  async custom_metadata() {
    const { initial, trailing } = await unary("UnaryCall", LARGE_REQUEST, { metadata: echoed() });
    assertEchoed(initial, trailing);
    const call = client.FullDuplexCall(echoed(), within());
    call.write(asksFor(LARGE_RESPONSE, 271828));
    call.end();
    const stream = await drained(call);
    assert.deepEqual(sizes(stream.messages), [LARGE_RESPONSE]);
    assertEchoed(stream.initial, stream.status.metadata);
  },

  async unimplemented_method() {
    const error = await failure(unary("UnimplementedCall", {}));
    assert.equal(error.code, grpc.status.UNIMPLEMENTED);
  },

  async unimplemented_service() {
    const nobody = connect({}, UnimplementedService);
    const error = await failure(unary("UnimplementedCall", {}, { on: nobody }));
    assert.equal(error.code, grpc.status.UNIMPLEMENTED);
    nobody.close();
  },

  async client_compressed_unary() {
    const expecting = (value) => ({ ...LARGE_REQUEST, expect_compressed: { value } });
    const error = await failure(unary("UnaryCall", expecting(true)));
    assert.equal(error.code, grpc.status.INVALID_ARGUMENT);
    await withCompression((on) => unary("UnaryCall", expecting(true), { on }));
    await unary("UnaryCall", expecting(false));
  },

  async client_compressed_streaming() {
    const expecting = (value) => ({
      payload: { body: Buffer.alloc(27182) },
      expect_compressed: { value },
    });
    const error = await failure(upload([expecting(true)]));
    assert.equal(error.code, grpc.status.INVALID_ARGUMENT);
    await withCompression(async (on) => {
      assert.equal(await upload([expecting(true), expecting(true)], on), 2 * 27182);
    });
    assert.equal(await upload([expecting(false)]), 27182);
  },

  async rpc_soak() {
    for (let made = 0; made < Number(soakCalls); made += 1) await large();
  },

  async channel_soak() {
    for (let made = 0; made < Number(soakCalls); made += 1) {
      // Without its own pool it would be the connection of the others.
      const on = connect({ "grpc.use_local_subchannel_pool": 1 });
      await large({ on });
      on.close();
    }
  },
};

async function main() {
  const found = {};
  for (const [name, run] of Object.entries(cases)) {
    found[name] = await run().then(() => null, (error) => String(error.stack));
  }
  // The timers of deadlines that did not pass would keep the program for 20 seconds.
  process.stdout.write(JSON.stringify(found), () => process.exit());
}

main();
