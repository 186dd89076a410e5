// A grpc-js server of grpc.testing.TestService. Argument: testing.proto.
"use strict";

const grpc = require("@grpc/grpc-js");
const { loadTesting } = require("./official.js");

const { TestService } = loadTesting(process.argv[2]);

const ECHO_INITIAL = "x-grpc-test-echo-initial";
const ECHO_TRAILING = "x-grpc-test-echo-trailing-bin";

function copied(call, key) {
  const back = new grpc.Metadata();
  for (const value of call.metadata.get(key)) back.add(key, value);
  return back;
}

const asked = ({ response_status: status }) =>
  status?.code ? { code: status.code, details: status.message } : null;

// Writes what a request asks for, and returns the status that it asks for, if any.
function answer(call, request) {
  const status = asked(request);
  if (status) return status;
  for (const { size } of request.response_parameters) {
    call.write({ payload: { body: Buffer.alloc(size) } });
  }
  return null;
}

// Answers each request at once, or all of them when they are here.
function duplex(atOnce) {
  return (call) => {
    const held = [];
    let over = false;
    const end = (status) => {
      if (over) return;
      over = true;
      const trailing = copied(call, ECHO_TRAILING);
      if (status) call.emit("error", { ...status, metadata: trailing });
      else call.end(trailing);
    };
    call.sendMetadata(copied(call, ECHO_INITIAL));
    call.on("data", (request) => {
      if (over) return;
      if (!atOnce) return void held.push(request);
      const status = answer(call, request);
      if (status) end(status);
    });
    call.on("end", () => end(held.map((request) => answer(call, request)).find(Boolean)));
  };
}

const methods = {
  EmptyCall: (call, reply) => reply(null, {}),

  UnaryCall(call, reply) {
    call.sendMetadata(copied(call, ECHO_INITIAL));
    const trailing = copied(call, ECHO_TRAILING);
    const status = asked(call.request);
    if (status) reply({ ...status, metadata: trailing });
    else reply(null, { payload: { body: Buffer.alloc(call.request.response_size) } }, trailing);
  },

  StreamingOutputCall(call) {
    const status = answer(call, call.request);
    if (status) call.emit("error", status);
    else call.end();
  },

  StreamingInputCall(call, reply) {
    let size = 0;
    call.on("data", ({ payload }) => (size += payload?.body.length ?? 0));
    call.on("end", () => reply(null, { aggregated_payload_size: size }));
  },

  FullDuplexCall: duplex(true),
  HalfDuplexCall: duplex(false),
};

const server = new grpc.Server();
server.addService(TestService.service, methods);
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`ready on 127.0.0.1:${port}`);
});
