// The services of the official test cases, loaded from testing.proto.
"use strict";

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

function loadTesting(file) {
  const types = protoLoader.loadSync(file, { keepCase: true, longs: Number, defaults: true });
  return grpc.loadPackageDefinition(types).grpc.testing;
}

module.exports = { loadTesting };
